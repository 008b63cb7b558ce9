//! One query asks a home at one place (protocol.md §6).
//!
//! A Target Finder, or a Conductor that finds twice, can put a home into several batches with tickets that open. In
//! each of them the home would be counted. So the first place at which it is told of a query, or asked, is noted
//! before anything is read, and it takes part at no other.
//!
//! A home that is asked elsewhere is left out, as one whose ticket does not open. Zeros would pass for an answer:
//! whoever had everybody but one person asked elsewhere first would read that person from a sum of zeros.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    id::BatchId,
    ticket::FindId,
    weakness::{self, Weakness},
};

/// Where a query asks a home: the find that chose it, and the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// The find.
    pub find: FindId,
    /// The batch of its cut.
    pub batch: BatchId,
}

impl Place {
    /// Returns whether a home that the query reached first at `first`, or never before, takes part here. Attempts
    /// and rounds of a batch are one place.
    pub fn takes_part(&self, first: Option<&Self>) -> bool {
        first.is_none_or(|first| first == self) || weakness::off(Weakness::HomeInSeveralBatches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weakness::without;

    #[test]
    fn a_home_takes_part_where_a_query_reached_it_first_and_nowhere_else() {
        let first = Place {
            find: FindId([1; 32]),
            batch: BatchId {
                partition: 0,
                committee: 1,
                number: 2,
            },
        };
        assert!(first.takes_part(None));
        assert!(first.takes_part(Some(&first)));
        let (find, batch) = (first.find, first.batch);
        for elsewhere in [
            BatchId { number: 3, ..batch },
            BatchId {
                committee: 0,
                ..batch
            },
            BatchId {
                partition: 1,
                ..batch
            },
        ] {
            let other = Place {
                find,
                batch: elsewhere,
            };
            assert!(!other.takes_part(Some(&first)));
        }
        let other = Place {
            find: FindId([2; 32]),
            batch,
        };
        assert!(!other.takes_part(Some(&first)));
        without(Weakness::HomeInSeveralBatches, || {
            assert!(other.takes_part(Some(&first)));
        });
    }
}
