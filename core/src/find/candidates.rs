//! The homes that a find has seen, in columns: a million of them are held at a time.

use std::collections::HashMap;

use crate::{
    subscription::{EntryContent, HomeTag, SealedLink},
    ticket::HomeKey,
};

/// Homes, with the atoms of the profile that hold for each.
pub(super) struct Candidates {
    places: HashMap<HomeTag, u32>,
    tags: Vec<HomeTag>,
    keys: Vec<HomeKey>,
    /// Words of atoms per home.
    words: usize,
    /// One bit per atom, `words` for each home.
    atoms: Vec<u64>,
    links: Vec<Link>,
    /// The links' ciphertexts, one after the other.
    ciphertexts: Vec<u8>,
}

struct Link {
    upload: u32,
    index: u32,
    /// Where its ciphertext ends.
    end: usize,
}

/// One home.
pub(super) struct Candidate<'a> {
    pub(super) key: &'a HomeKey,
    pub(super) upload: u32,
    pub(super) link: SealedLink,
}

impl Candidates {
    /// None yet, of a profile with so many atoms.
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

    /// Notes that `atom` holds for a home. Key and link are those of its first entry. Whether there was
    /// room for it.
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

    /// The places of the homes for which `matches` holds, given which atoms hold; in the order of their
    /// tags, which is the same in every find over the same lists.
    pub(super) fn matching(&self, matches: impl Fn(&dyn Fn(usize) -> bool) -> bool) -> Vec<u32> {
        let holds = |place: usize, atom: usize| {
            self.atoms[place * self.words + atom / 64] >> (atom % 64) & 1 == 1
        };
        let places = 0..self.tags.len();
        let matching = places.filter(|&place| matches(&|atom| holds(place, atom)));
        let mut matching: Vec<u32> = matching.map(|place| place as u32).collect();
        matching.sort_unstable_by_key(|&place| self.tags[place as usize]);
        matching
    }

    /// The tag of the home at a place.
    pub(super) fn tag(&self, place: u32) -> &HomeTag {
        &self.tags[place as usize]
    }

    /// Forgets what is only needed until the homes are chosen.
    pub(super) fn close(&mut self) {
        self.places = HashMap::new();
        self.tags = Vec::new();
    }

    /// The home at a place.
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

    /// The tags of all homes.
    #[cfg(test)]
    pub(super) fn tags(&self) -> &[HomeTag] {
        &self.tags
    }
}
