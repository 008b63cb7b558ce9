//! Participation of a home in one batch of a query only (protocol.md §6).
//!
//! A Target Finder, or a Conductor that finds twice, can put a home into several batches with tickets that open. The
//! home would be counted in each batch. So a home records the first place at which a query is announced to it or asks
//! it, before anything is read, and takes part at no other place.
//!
//! At another place the home is left out, like a home whose ticket does not open. It must not send zeros: they would
//! pass for an answer, and an attacker that first asked everybody but one person elsewhere would read that person from
//! a sum of zeros.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::ticket::FindId;
use dispers_base::{
    id::BatchId,
    weakness::{self, Weakness},
};

/// Place at which a query asks a home: the find that chose the home, and the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// Id of the find.
    pub find: FindId,
    /// Batch of the find's cut.
    pub batch: BatchId,
}

impl Place {
    /// Returns whether a home takes part at this place, where `first` is the place at which the query reached it
    /// first. Attempts and rounds of a batch are one place.
    pub fn takes_part(&self, first: Option<&Self>) -> bool {
        first.is_none_or(|first| first == self) || weakness::off(Weakness::HomeInSeveralBatches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispers_base::weakness::without;

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
