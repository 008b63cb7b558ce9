//! The sealed subscription lists, by pseudonym. In memory: a Conductor that restarts forgets them,
//! and stacks subscribe anew.

use std::collections::{HashMap, HashSet};

use dispers_core::{
    encoding::{hash, to_bytes},
    find::{ListSegment, ListedEntry},
    id::KeyEpoch,
    labels,
    oprf::Pseudonym,
    subscription::{Handle, MAX_ENTRIES, Upload, UploadEnvelopes},
};

use crate::Error;

/// One entry, still sealed.
struct Kept {
    index: u32,
    ciphertext: Vec<u8>,
    withdrawal: [u8; 32],
}

struct KeptUpload {
    key_epoch: KeyEpoch,
    envelopes: UploadEnvelopes,
    entries: HashMap<Pseudonym, Vec<Kept>>,
}

/// The lists.
pub(crate) struct Lists {
    uploads: Vec<KeptUpload>,
    /// Hashes of the uploads taken: one that is sent again would bring back what was withdrawn.
    seen: HashSet<[u8; 32]>,
    /// Where the entry of each handle is.
    handles: HashMap<[u8; 32], (usize, Pseudonym)>,
    max_entries: usize,
}

impl Lists {
    pub(crate) fn new(max_entries: usize) -> Self {
        Self {
            uploads: Vec::new(),
            seen: HashSet::new(),
            handles: HashMap::new(),
            max_entries,
        }
    }

    /// Keeps an upload of one of the listed key epochs; one that was kept before changes nothing.
    pub(crate) fn add(&mut self, upload: Upload, listed: &[KeyEpoch]) -> Result<(), Error> {
        let count = upload.entries.len();
        if !listed.contains(&upload.key_epoch)
            || upload.partition != 0
            || count == 0
            || count > MAX_ENTRIES
            || upload.envelopes.entry_count as usize != count
        {
            return Err(Error::BadUpload);
        }
        if self.handles.len() + count > self.max_entries {
            return Err(Error::Full("subscriptions"));
        }
        let name = hash(labels::HASH_LISTS, &[&to_bytes(&upload.envelopes)]);
        if !self.seen.insert(name) {
            return Ok(());
        }
        let place = self.uploads.len();
        let mut entries: HashMap<Pseudonym, Vec<Kept>> = HashMap::new();
        for entry in upload.entries {
            self.handles
                .insert(entry.withdrawal, (place, entry.pseudonym));
            entries.entry(entry.pseudonym).or_default().push(Kept {
                index: entry.index,
                ciphertext: entry.ciphertext,
                withdrawal: entry.withdrawal,
            });
        }
        self.uploads.push(KeptUpload {
            key_epoch: upload.key_epoch,
            envelopes: upload.envelopes,
            entries,
        });
        Ok(())
    }

    /// Removes the entries of `handles`; how many there were.
    pub(crate) fn withdraw(&mut self, handles: &[Handle]) -> u32 {
        let mut withdrawn = 0;
        for handle in handles {
            let hash = handle.hash();
            let Some((place, pseudonym)) = self.handles.remove(&hash) else {
                continue;
            };
            if let Some(entries) = self.uploads[place].entries.get_mut(&pseudonym) {
                entries.retain(|kept| kept.withdrawal != hash);
                withdrawn += 1;
            }
        }
        withdrawn
    }

    /// The segments of a find, encoded, one per upload of its key epoch with matching entries.
    pub(crate) fn segments(&self, key_epoch: KeyEpoch, pseudonyms: &[Pseudonym]) -> Vec<Vec<u8>> {
        self.uploads
            .iter()
            .filter(|upload| upload.key_epoch == key_epoch)
            .filter_map(|upload| {
                let entries: Vec<ListedEntry> = pseudonyms
                    .iter()
                    .flat_map(|pseudonym| {
                        let kept = upload.entries.get(pseudonym).into_iter().flatten();
                        kept.map(|kept| ListedEntry {
                            pseudonym: *pseudonym,
                            index: kept.index,
                            ciphertext: kept.ciphertext.clone(),
                        })
                    })
                    .collect();
                (!entries.is_empty()).then(|| {
                    to_bytes(&ListSegment {
                        key_epoch: upload.key_epoch,
                        envelopes: upload.envelopes.clone(),
                        entries,
                    })
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use dispers_core::{encoding::from_bytes, subscription::Entry};

    use super::*;

    const EPOCH: KeyEpoch = KeyEpoch(1);

    fn handle(number: u8) -> Handle {
        Handle([number; 16])
    }

    /// An upload whose entries are numbered from `first`, under the pseudonyms given.
    fn upload(first: u8, pseudonyms: &[u8]) -> Upload {
        Upload {
            key_epoch: EPOCH,
            partition: 0,
            envelopes: UploadEnvelopes {
                entries: vec![first],
                entry_count: pseudonyms.len() as u32,
                links: vec![first],
                link_count: 1,
            },
            entries: (0u32..)
                .zip(pseudonyms)
                .map(|(index, &pseudonym)| Entry {
                    pseudonym: Pseudonym([pseudonym; 32]),
                    index,
                    ciphertext: vec![first + index as u8],
                    withdrawal: handle(first + index as u8).hash(),
                })
                .collect(),
        }
    }

    /// The ciphertexts under `pseudonyms`, upload by upload.
    fn listed(lists: &Lists, pseudonyms: &[u8]) -> Vec<Vec<u8>> {
        let pseudonyms: Vec<Pseudonym> = pseudonyms.iter().map(|&p| Pseudonym([p; 32])).collect();
        let segments = lists.segments(EPOCH, &pseudonyms);
        let decode = |bytes: &Vec<u8>| from_bytes::<ListSegment>(bytes, 1 << 20, "segment");
        segments
            .iter()
            .map(|bytes| {
                let entries = decode(bytes).unwrap().entries;
                entries.iter().map(|entry| entry.ciphertext[0]).collect()
            })
            .collect()
    }

    #[test]
    fn a_find_gets_the_entries_of_its_pseudonyms_and_no_other() {
        let mut lists = Lists::new(100);
        lists.add(upload(10, &[1, 2, 1]), &[EPOCH]).unwrap();
        lists.add(upload(20, &[2, 3]), &[EPOCH]).unwrap();
        assert_eq!(listed(&lists, &[1]), [vec![10, 12]]);
        assert_eq!(listed(&lists, &[2]), [vec![11], vec![20]]);
        assert_eq!(listed(&lists, &[3, 1]), [vec![10, 12], vec![21]]);
        assert!(listed(&lists, &[9]).is_empty());
    }

    #[test]
    fn an_upload_sent_again_does_not_bring_back_what_was_withdrawn() {
        let mut lists = Lists::new(100);
        lists.add(upload(10, &[1, 1]), &[EPOCH]).unwrap();
        assert_eq!(lists.withdraw(&[handle(10), handle(99)]), 1);
        assert_eq!(lists.withdraw(&[handle(10)]), 0);
        lists.add(upload(10, &[1, 1]), &[EPOCH]).unwrap();
        assert_eq!(listed(&lists, &[1]), [vec![11]]);
    }

    #[test]
    fn an_upload_of_another_epoch_or_with_wrong_counts_is_refused() {
        let mut lists = Lists::new(3);
        let mut miscounted = upload(10, &[1, 2]);
        miscounted.envelopes.entry_count = 3;
        let mut elsewhere = upload(10, &[1]);
        elsewhere.partition = 1;
        for bad in [miscounted, elsewhere, upload(10, &[])] {
            assert!(matches!(lists.add(bad, &[EPOCH]), Err(Error::BadUpload)));
        }
        let other = lists.add(upload(10, &[1]), &[KeyEpoch(2)]);
        assert!(matches!(other, Err(Error::BadUpload)));
        lists.add(upload(10, &[1, 2]), &[EPOCH]).unwrap();
        let full = lists.add(upload(20, &[1, 2]), &[EPOCH]);
        assert!(matches!(full, Err(Error::Full(_))));
    }

    #[test]
    fn the_lists_of_two_epochs_are_apart() {
        let mut lists = Lists::new(100);
        let listed = [EPOCH, KeyEpoch(2)];
        lists.add(upload(10, &[1]), &listed).unwrap();
        let mut next = upload(20, &[1]);
        next.key_epoch = KeyEpoch(2);
        lists.add(next, &listed).unwrap();
        let of =
            |lists: &Lists, epoch| lists.segments(KeyEpoch(epoch), &[Pseudonym([1; 32])]).len();
        assert_eq!((of(&lists, 1), of(&lists, 2), of(&lists, 3)), (1, 1, 0));
        // What is withdrawn is withdrawn in both.
        assert_eq!(lists.withdraw(&[handle(10), handle(20)]), 2);
        assert_eq!((of(&lists, 1), of(&lists, 2)), (0, 0));
    }
}
