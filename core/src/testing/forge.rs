//! Contributions of dishonest stacks. A draft starts as the contributions of honest stacks.

use super::Scene;
use crate::ask::{Answer, SealedGroup, group_context};
use dispers_base::{
    encoding, field,
    id::{MemberNumber, Work},
};
use dispers_circuit::contribution::Tag;
use dispers_crypto::shamir::Sharing;

/// Contribution of one home before it is shared.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) index: u32,
    /// One tag per aggregator with an offer.
    pub(crate) tags: Vec<Tag>,
    pub(crate) input: Vec<u64>,
    pub(crate) proof: Vec<u64>,
}

/// Contributions of each host's homes.
pub(crate) struct Draft {
    pub(crate) work: Work,
    pub(crate) stacks: Vec<Vec<Sent>>,
}

/// Shares of one host's homes for one aggregator.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) entries: Vec<(u32, Tag)>,
    pub(crate) elements: Vec<u64>,
}

/// Shares of a draft: for each host, a group per aggregator with an offer.
pub(crate) struct Shared {
    pub(crate) work: Work,
    pub(crate) stacks: Vec<Vec<Group>>,
}

impl Draft {
    pub(crate) fn new(scene: &mut Scene, work: Work) -> Self {
        let manifest = scene.question.manifest.clone();
        let (query, rows) = (manifest.query(), manifest.circuit().as_rows().unwrap());
        let mut stacks = Vec::new();
        for ask in scene.asks(work).asks.into_values() {
            let mut sent = Vec::new();
            for asked in &ask.homes {
                let home = scene.home(&asked.home.0);
                let (key, index) = (&home.key, asked.index);
                let ticket = asked.ticket.open(key, query, &ask.find, work.batch, index);
                let tags = ticket.unwrap().tags;
                let input = rows.encode(home.row.as_ref()).unwrap();
                sent.push(Sent {
                    index,
                    tags: manifest.offers(0).map(|(m, _)| tags[m.index()]).collect(),
                    proof: rows.constraints().prove(&input, &mut scene.rng).to_vec(),
                    input: input.to_vec(),
                });
            }
            stacks.push(sent);
        }
        Self { work, stacks }
    }

    pub(crate) fn home(&mut self, index: u32) -> &mut Sent {
        let mut sent = self.stacks.iter_mut().flatten();
        sent.find(|sent| sent.index == index).unwrap()
    }

    /// Changes a home's input and makes the proof for the changed input.
    pub(crate) fn claim(
        &mut self,
        scene: &mut Scene,
        index: u32,
        change: impl FnOnce(&mut Vec<u64>),
    ) {
        let sent = self.home(index);
        change(&mut sent.input);
        let rows = scene.question.manifest.circuit().as_rows().unwrap();
        let proof = rows.constraints().prove(&sent.input, &mut scene.rng);
        sent.proof = proof.to_vec();
    }

    pub(crate) fn share(&self, scene: &mut Scene) -> Shared {
        let manifest = scene.question.manifest.clone();
        let points: Vec<MemberNumber> = manifest.offers(0).map(|(member, _)| member).collect();
        let needed = usize::from(manifest.committees[0].needed);
        let sharing = Sharing::new(&points, needed).unwrap();
        let mut stack = |sent: &Vec<Sent>| -> Vec<Group> {
            let secret: Vec<u64> = sent
                .iter()
                .flat_map(|sent| sent.input.iter().chain(&sent.proof).copied())
                .collect();
            let uniform: Vec<Vec<u64>> = (0..sharing.uniform())
                .map(|_| {
                    secret
                        .iter()
                        .map(|_| field::random(&mut scene.rng))
                        .collect()
                })
                .collect();
            let views: Vec<&[u64]> = uniform.iter().map(Vec::as_slice).collect();
            let others: Vec<Vec<u64>> = sharing.complete(&secret, &views).collect();
            let shares = uniform.into_iter().chain(others).enumerate();
            shares
                .map(|(position, elements)| Group {
                    entries: sent.iter().map(|s| (s.index, s.tags[position])).collect(),
                    elements,
                })
                .collect()
        };
        Shared {
            work: self.work,
            stacks: self.stacks.iter().map(&mut stack).collect(),
        }
    }
}

impl Group {
    /// Returns the encoding that an aggregator decodes, whatever the content.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encoding::to_bytes(&(&self.entries, 1u8, &self.elements))
    }
}

impl Shared {
    /// Returns the stack of a home, and the home's place in that stack's groups.
    pub(crate) fn place(&self, index: u32) -> (usize, usize) {
        let mut stacks = self.stacks.iter().enumerate();
        let found = stacks.find_map(|(stack, groups)| {
            let mut entries = groups[0].entries.iter();
            Some((stack, entries.position(|entry| entry.0 == index)?))
        });
        found.unwrap()
    }

    pub(crate) fn entry(&mut self, position: usize, index: u32) -> &mut (u32, Tag) {
        let (stack, place) = self.place(index);
        &mut self.stacks[stack][position].entries[place]
    }

    /// Returns the home's share for the aggregator at `position`.
    pub(crate) fn elements(&mut self, position: usize, index: u32) -> &mut [u64] {
        let (stack, place) = self.place(index);
        let group = &mut self.stacks[stack][position];
        let length = group.elements.len() / group.entries.len();
        &mut group.elements[place * length..(place + 1) * length]
    }

    /// Seals bytes as a group for the aggregator at `position`.
    pub(crate) fn seal_bytes(
        scene: &mut Scene,
        work: Work,
        position: usize,
        bytes: Vec<u8>,
    ) -> SealedGroup {
        let manifest = scene.question.manifest.clone();
        let (member, key) = manifest.offers(0).nth(position).unwrap();
        SealedGroup::seal_bytes(
            bytes,
            key,
            &group_context(work, &[0; 32], 0, member),
            &mut scene.rng,
        )
    }

    pub(crate) fn seal(&self, scene: &mut Scene) -> Vec<Answer> {
        let mut answers = Vec::new();
        for groups in &self.stacks {
            let sealed = groups.iter().enumerate().map(|(position, group)| {
                Self::seal_bytes(scene, self.work, position, group.encode())
            });
            answers.push(Answer {
                groups: sealed.collect(),
                homes: groups[0].entries.len() as u32,
            });
        }
        answers
    }
}
