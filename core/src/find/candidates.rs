//! Homes that a find has seen so far, in columns: a find may hold millions of homes at a time.

use std::collections::HashMap;

use crate::{
    subscription::{EntryContent, HomeTag, SealedLink},
    ticket::HomeKey,
};

/// Homes, each with the atoms of the profile that hold for it.
pub(super) struct Candidates {
    places: HashMap<HomeTag, u32>,
    tags: Vec<HomeTag>,
    keys: Vec<HomeKey>,
    /// Number of 64-bit words of atoms per home.
    words: usize,
    /// Bits of the atoms, one per atom, in `words` words for each home.
    atoms: Vec<u64>,
    links: Vec<Link>,
    /// Ciphertexts of the links, one after the other.
    ciphertexts: Vec<u8>,
}

struct Link {
    upload: u32,
    index: u32,
    /// End of the ciphertext in `ciphertexts`. It begins where that of the home before ends.
    end: usize,
}

/// View of one home.
pub(super) struct Candidate<'a> {
    pub(super) key: &'a HomeKey,
    pub(super) upload: u32,
    pub(super) link: SealedLink,
}

impl Candidates {
    /// Creates an empty table for a profile with `atoms` atoms.
    pub(super) fn new(atoms: usize) -> Self {
        Self {
            places: HashMap::new(),
            tags: Vec::new(),
            keys: Vec::new(),
            words: atoms.div_ceil(64),
            atoms: Vec::new(),
            links: Vec::new(),
            ciphertexts: Vec::new(),
        }
    }

    /// Records that `atom` holds for a home. The home's key and link are those of its first entry. Returns false if the
    /// home is new and the table already has `most` homes.
    pub(super) fn note(
        &mut self,
        atom: usize,
        upload: u32,
        content: EntryContent,
        most: usize,
    ) -> bool {
        let place = match self.places.get(&content.tag) {
            Some(&place) => place as usize,
            None if self.tags.len() >= most => return false,
            None => {
                let place = self.tags.len();
                self.places.insert(content.tag, place as u32);
                self.tags.push(content.tag);
                self.keys.push(content.key);
                self.atoms.resize(self.atoms.len() + self.words, 0);
                self.ciphertexts.extend_from_slice(&content.link.ciphertext);
                self.links.push(Link {
                    upload,
                    index: content.link.index,
                    end: self.ciphertexts.len(),
                });
                place
            }
        };
        self.atoms[place * self.words + atom / 64] |= 1 << (atom % 64);
        true
    }

    /// Returns the places of the homes for which `matches` holds. `matches` gets a function that says whether an atom
    /// holds for the home. The places are in the order of the homes' tags, which is the same in every find over the
    /// same lists.
    pub(super) fn matching(&self, matches: impl Fn(&dyn Fn(usize) -> bool) -> bool) -> Vec<u32> {
        let places = 0..self.tags.len();
        let matching = places.filter(|&place| {
            matches(&|atom| self.atoms[place * self.words + atom / 64] >> (atom % 64) & 1 == 1)
        });
        let mut matching: Vec<u32> = matching.map(|place| place as u32).collect();
        matching.sort_unstable_by_key(|&place| self.tags[place as usize]);
        matching
    }

    /// Returns the tag of the home at a place.
    pub(super) fn tag(&self, place: u32) -> &HomeTag {
        &self.tags[place as usize]
    }

    /// Drops the columns that are needed only until the homes are chosen, to free their memory.
    pub(super) fn close(&mut self) {
        self.places = HashMap::new();
        self.tags = Vec::new();
    }

    /// Returns the home at a place.
    pub(super) fn get(&self, place: u32) -> Candidate<'_> {
        let place = place as usize;
        let start = place
            .checked_sub(1)
            .map_or(0, |before| self.links[before].end);
        let link = &self.links[place];
        Candidate {
            key: &self.keys[place],
            upload: link.upload,
            link: SealedLink {
                index: link.index,
                ciphertext: self.ciphertexts[start..link.end].to_vec(),
            },
        }
    }

    /// Returns the tags of all homes.
    #[cfg(test)]
    pub(super) fn tags(&self) -> &[HomeTag] {
        &self.tags
    }
}
