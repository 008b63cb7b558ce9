//! Decoders of the layers around the protocol's own encoding: gRPC frames, protobuf, and messages in chunks.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use dispers_proto::{
    Messages, chunks,
    v1::{
        Chunk, EvaluateRequest, Message, OffersReply, Query, StatusUpdate, SubmitRequest,
        TotalsReply, WithdrawReply,
    },
};
use http_body_util::Full;
use prost::{Message as _, bytes::Bytes};
use tonic::{
    Status,
    codec::{Codec, Streaming},
};
use tonic_prost::ProstCodec;

use super::{Decoder, LIMIT};

/// Returns whether the bytes decode. Encoding and decoding the message again gives the same message. Its bytes may
/// differ, since signed data are a field of it, byte for byte.
fn protobuf<T: prost::Message + Default + PartialEq>(bytes: &[u8]) -> bool {
    T::decode(bytes).is_ok_and(|message| {
        let again = T::decode(&*message.encode_to_vec());
        assert!(again.is_ok_and(|again| again == message));
        true
    })
}

pub(super) const DECODERS: &[Decoder] = &[
    Decoder {
        name: "stream of chunks",
        accepts: reassembled,
    },
    Decoder {
        name: "Chunk",
        accepts: protobuf::<Chunk>,
    },
    Decoder {
        name: "Message",
        accepts: protobuf::<Message>,
    },
    Decoder {
        name: "OffersReply",
        accepts: protobuf::<OffersReply>,
    },
    Decoder {
        name: "SubmitRequest",
        accepts: protobuf::<SubmitRequest>,
    },
    Decoder {
        name: "Query",
        accepts: protobuf::<Query>,
    },
    Decoder {
        name: "StatusUpdate",
        accepts: protobuf::<StatusUpdate>,
    },
    Decoder {
        name: "TotalsReply",
        accepts: protobuf::<TotalsReply>,
    },
    Decoder {
        name: "EvaluateRequest",
        accepts: protobuf::<EvaluateRequest>,
    },
    Decoder {
        name: "WithdrawReply",
        accepts: protobuf::<WithdrawReply>,
    },
];

/// Returns the messages of a stream of gRPC frames.
fn read(frames: &[u8]) -> Result<Vec<Vec<u8>>, Status> {
    let mut codec = ProstCodec::<Chunk, Chunk>::default();
    let body = Full::new(Bytes::copy_from_slice(frames));
    let mut messages = Messages::new(Streaming::new_request(codec.decoder(), body, None, None));
    let reading = pin!(async move {
        let mut read = Vec::new();
        while let Some(message) = messages.next(LIMIT).await? {
            read.push(message);
        }
        Ok(read)
    });
    // All bytes are there, so that the stream never waits.
    match reading.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("a whole stream is waited for"),
    }
}

/// Encodes messages as gRPC frames.
fn write(messages: Vec<Vec<u8>>) -> Vec<u8> {
    let mut frames = Vec::new();
    for chunk in chunks(messages) {
        let chunk = chunk.encode_to_vec();
        frames.push(0);
        frames.extend((chunk.len() as u32).to_be_bytes());
        frames.extend(chunk);
    }
    frames
}

/// Returns whether the frames decode. Messages that are cut into chunks and reassembled again are the same.
fn reassembled(frames: &[u8]) -> bool {
    read(frames).is_ok_and(|messages| {
        let again = read(&write(messages.clone()));
        assert!(again.is_ok_and(|again| again == messages));
        true
    })
}
