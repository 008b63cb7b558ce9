//! Streams of messages, cut into chunks of at most 1 MiB, so that no message exceeds gRPC's limit of 4 MiB.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use crate::v1::Chunk;

/// Largest chunk, in bytes.
pub const CHUNK: usize = 1 << 20;

/// Longest wait for the next chunk of a request (protocol.md §11).
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Number of bytes for which a sender gets one more second. A whole chunk earns about the longest wait.
const BYTES_PER_SECOND: u64 = 100_000;

/// Cuts messages into chunks, in order. Each chunk is made when it is asked for.
pub fn chunks(messages: impl IntoIterator<Item = Vec<u8>>) -> impl Iterator<Item = Chunk> {
    messages.into_iter().flat_map(|message| {
        // An empty message is one empty chunk. Otherwise the reader would not see it.
        let count = message.len().div_ceil(CHUNK).max(1);
        (0..count).map(move |number| {
            let start = number * CHUNK;
            let end = message.len().min(start + CHUNK);
            Chunk {
                data: message[start..end].to_vec(),
                last: number + 1 == count,
            }
        })
    })
}

/// Reader that joins the chunks of a stream into messages.
pub struct Messages {
    stream: Streaming<Chunk>,
    /// Remaining time to wait for the sender; `None` without a limit.
    patience: Option<Duration>,
    /// Longest wait for a chunk.
    most: Duration,
}

impl Messages {
    /// Reads messages from `stream` without a time limit, for a caller that has its own.
    pub fn new(stream: Streaming<Chunk>) -> Self {
        Self {
            stream,
            patience: None,
            most: Duration::MAX,
        }
    }

    /// Reads the messages of a request, which may occupy a place that others wait for. It waits at most [`PATIENCE`]
    /// for each chunk, and less for the small chunks of a message: a sender that drips bytes does not occupy the place
    /// for long.
    pub fn of_request(stream: Streaming<Chunk>) -> Self {
        Self::within(stream, PATIENCE)
    }

    /// Reads messages like [`Messages::of_request`], with another longest wait.
    pub fn within(stream: Streaming<Chunk>, most: Duration) -> Self {
        Self {
            stream,
            patience: Some(most),
            most,
        }
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, Status> {
        let Some(left) = self.patience else {
            return self.stream.message().await;
        };
        let begun = Instant::now();
        let chunk = timeout(left, self.stream.message()).await.map_err(|_| {
            Status::deadline_exceeded(
                "the request stopped before its end: send it again, without pauses",
            )
        })??;
        let bytes = chunk.as_ref().map_or(0, |chunk| chunk.data.len() as u64);
        // A fixed wait per chunk would let a sender that sends one byte at a time hold its place for ever. The wait
        // therefore shrinks with the time taken and grows with the bytes received (protocol.md §12).
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / BYTES_PER_SECOND);
        let left = match chunk.as_ref().is_some_and(|chunk| chunk.last) {
            true => self.most,
            false => left.saturating_sub(begun.elapsed()).saturating_add(earned),
        };
        self.patience = Some(left.min(self.most));
        Ok(chunk)
    }

    /// Returns the next message of at most `limit` bytes, or `None` at the end of the stream.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` for a longer message, `DATA_LOSS` if the stream ends within a message, `DEADLINE_EXCEEDED`
    /// if a request is silent for too long, or the status that ended the stream.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Vec<u8>>, Status> {
        let mut message = Vec::new();
        let mut started = false;
        while let Some(chunk) = self.chunk().await? {
            started = true;
            // The limit is checked before the chunk is added, so that the message never grows beyond it.
            if message.len() + chunk.data.len() > limit {
                return Err(Status::resource_exhausted("a message is over its limit"));
            }
            message.extend_from_slice(&chunk.data);
            if chunk.last {
                return Ok(Some(message));
            }
        }
        if started {
            return Err(Status::data_loss("the stream ended within a message"));
        }
        Ok(None)
    }

    /// Returns the next message, which must exist.
    ///
    /// # Errors
    /// As [`Messages::next`], and `INVALID_ARGUMENT` at the end of the stream.
    pub async fn expect(&mut self, limit: usize) -> Result<Vec<u8>, Status> {
        self.next(limit)
            .await?
            .ok_or_else(|| Status::invalid_argument("the stream ended before its message"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    #[test]
    fn long_messages_are_cut_and_short_ones_are_not() {
        let messages = [vec![7; CHUNK + 1], vec![], vec![8; CHUNK]];
        let chunks: Vec<Chunk> = chunks(messages).collect();
        let shape: Vec<(usize, bool)> = chunks.iter().map(|c| (c.data.len(), c.last)).collect();
        assert_eq!(shape, [(CHUNK, false), (1, true), (0, true), (CHUNK, true)]);
    }

    /// Sends `size` bytes every `pause` without end, as a request. Returns the time until the reader gives up.
    async fn listened_to(size: usize, pause: Duration) -> Duration {
        use prost::Message as _;
        let chunk = Chunk {
            data: vec![7; size],
            last: false,
        };
        let mut frame = vec![0; 5];
        frame[1..].copy_from_slice(&(chunk.encoded_len() as u32).to_be_bytes());
        chunk.encode(&mut frame).expect("a vector has room");
        let frames = tokio_stream::iter(0..1000).then(move |_| {
            let frame = frame.clone();
            async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Status>(http_body::Frame::data(prost::bytes::Bytes::from(frame)))
            }
        });
        let mut codec = tonic_prost::ProstCodec::<Chunk, Chunk>::default();
        let body = http_body_util::StreamBody::new(frames);
        let decoder = tonic::codec::Codec::decoder(&mut codec);
        let stream = Streaming::new_request(decoder, body, None, None);
        let begun = Instant::now();
        let ended = Messages::of_request(stream).next(1 << 26).await;
        let code = ended.expect_err("it has no end").code();
        assert!(matches!(
            code,
            tonic::Code::DeadlineExceeded | tonic::Code::ResourceExhausted
        ));
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stops_or_drips_holds_no_place_for_long() {
        let hour = Duration::from_secs(3600);
        let second = Duration::from_secs(1);
        let stopped = listened_to(CHUNK, hour).await;
        assert!((PATIENCE..PATIENCE + second).contains(&stopped));
        // One byte per second counts as silence.
        assert!(listened_to(1, second).await < PATIENCE + second);
        // A message at a fair speed is read up to its bound, here 64 chunks.
        assert!(listened_to(CHUNK, 9 * second).await >= 9 * 64 * second);
    }
}
