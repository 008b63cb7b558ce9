//! Admission of queries to a node, so that no querier occupies every place.

/// Divisor of the places that one querier may occupy.
const SHARE: usize = 4;
/// Number of ended queries that are kept per place, so that repeated requests are still answered.
const OVER: usize = 4;

/// Number of queries at a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// Number of queries that run.
    pub running: usize,
    /// Number of ended queries that are still answered.
    pub over: usize,
    /// Number of running queries of the querier that begins another.
    pub own_running: usize,
    /// Number of ended queries of that querier.
    pub own_over: usize,
}

/// Ended query that makes room for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivesWay {
    /// No query needs to make room.
    Nobody,
    /// The query of the same querier that expires first.
    Own,
    /// The query that expires first.
    Any,
}

/// Reason why no more queries are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// All places are occupied.
    Full,
    /// The querier occupies its share of the places, this number.
    Own(usize),
}

impl Room {
    /// Decides whether one more query is admitted where `most` may run. Ended queries never prevent it.
    ///
    /// # Errors
    /// [`NoRoom`] with the limit that was reached.
    pub fn admit(self, most: usize) -> Result<GivesWay, NoRoom> {
        // With fewer places than the divisor, a querier may still use one.
        let share = (most / SHARE).max(1);
        if self.running >= most {
            return Err(NoRoom::Full);
        }
        if self.own_running >= share {
            return Err(NoRoom::Own(share));
        }
        // A querier that has many ended queries displaces its own first, and not those of others.
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
        // Ended queries prevent no admission, and one querier's queries do not displace those of others.
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
        // A node with one place admits a query too.
        assert_eq!(Room::default().admit(1), Ok(GivesWay::Nobody));
    }
}
