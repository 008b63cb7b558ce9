//! Streams of messages, cut into chunks of at most 1 MiB so that gRPC's 4 MiB limit stays.

use tonic::{Status, Streaming};

use crate::v1::Chunk;

/// Largest chunk, in bytes.
pub const CHUNK: usize = 1 << 20;

/// Cuts messages into chunks, in order. A chunk is made when it is asked for.
pub fn chunks(messages: impl IntoIterator<Item = Vec<u8>>) -> impl Iterator<Item = Chunk> {
    messages.into_iter().flat_map(|message| {
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

/// Puts the messages of a stream together again.
pub struct Messages(Streaming<Chunk>);

impl Messages {
    /// Reads messages from `stream`.
    pub fn new(stream: Streaming<Chunk>) -> Self {
        Self(stream)
    }

    /// The next message of at most `limit` bytes, or `None` at the end of the stream.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` for a longer message, `DATA_LOSS` when the stream ends within one, and
    /// whatever ended the stream.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Vec<u8>>, Status> {
        let mut message = Vec::new();
        let mut started = false;
        while let Some(chunk) = self.0.message().await? {
            started = true;
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

    /// The next message, which must be there.
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

    #[test]
    fn long_messages_are_cut_and_short_ones_are_not() {
        let messages = [vec![7; CHUNK + 1], vec![], vec![8; CHUNK]];
        let chunks: Vec<Chunk> = chunks(messages).collect();
        let shape: Vec<(usize, bool)> = chunks.iter().map(|c| (c.data.len(), c.last)).collect();
        assert_eq!(shape, [(CHUNK, false), (1, true), (0, true), (CHUNK, true)]);
    }
}
