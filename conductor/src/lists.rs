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

    /// Keeps an upload; one that was kept before changes nothing.
    pub(crate) fn add(&mut self, upload: Upload, key_epoch: KeyEpoch) -> Result<(), Error> {
        let count = upload.entries.len();
        if upload.key_epoch != key_epoch
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

    /// The segments of a find, encoded, one per upload with matching entries.
    pub(crate) fn segments(&self, pseudonyms: &[Pseudonym]) -> Vec<Vec<u8>> {
        self.uploads
            .iter()
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
