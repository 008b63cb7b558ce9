//! How many queries a node takes: no querier takes every place.

/// One querier has at most this part of the places.
const SHARE: usize = 4;
/// Queries that are over and are kept for each that may run: whoever repeats a request is answered.
const OVER: usize = 4;

/// Queries at a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// Queries that run.
    pub running: usize,
    /// Queries that are over and are still answered for.
    pub over: usize,
    /// Those that run of the querier that begins another.
    pub own_running: usize,
    /// Those of that querier that are over.
    pub own_over: usize,
}

/// Which query that is over makes room for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivesWay {
    /// None needs to.
    Nobody,
    /// The one of the same querier that expires first.
    Own,
    /// The one that expires first.
    Any,
}

/// Why no more queries are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// Too many run.
    Full,
    /// As many of the querier run as of one may.
    Own(usize),
}

impl Room {
    /// Decides whether one more query is taken where `most` may run. Those that are over keep nobody out.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn admit(self, most: usize) -> Result<GivesWay, NoRoom> {
        let share = (most / SHARE).max(1);
        if self.running >= most {
            return Err(NoRoom::Full);
        }
        if self.own_running >= share {
            return Err(NoRoom::Own(share));
        }
        if self.own_over >= OVER * share {
            return Ok(GivesWay::Own);
        }
        match self.over >= OVER * most {
            true => Ok(GivesWay::Any),
            false => Ok(GivesWay::Nobody),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_querier_that_opens_queries_without_end_keeps_nobody_else_out() {
        let greedy = Room {
            running: 64,
            own_running: 64,
            ..Room::default()
        };
        assert_eq!(greedy.admit(256), Err(NoRoom::Own(64)));
        let other = Room {
            own_running: 0,
            ..greedy
        };
        assert_eq!(other.admit(256), Ok(GivesWay::Nobody));
        let full = Room {
            running: 256,
            ..other
        };
        assert_eq!(full.admit(256), Err(NoRoom::Full));
        // What is over keeps nobody out, and what one querier asked does not displace what others did.
        let over = Room {
            over: 300,
            own_over: 256,
            ..Room::default()
        };
        assert_eq!(over.admit(256), Ok(GivesWay::Own));
        let crowded = Room {
            over: 1024,
            own_over: 3,
            ..Room::default()
        };
        assert_eq!(crowded.admit(256), Ok(GivesWay::Any));
        // A node with one place serves, too.
        assert_eq!(Room::default().admit(1), Ok(GivesWay::Nobody));
    }
}
