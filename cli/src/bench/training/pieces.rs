//! Cost of one vector for the home that sends it and for each aggregator, with proofs and without.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use dispers_base::{
    field::{self, Expander},
    id::{MemberNumber, Role},
    labels,
};
use dispers_circuit::{
    Circuit, Section, Vector, VectorRow, VectorShape, Verifier,
    contribution::{Contribution, HeldGroup, share},
};
use dispers_crypto::{
    envelope::{Context, EnvelopeSecretKey, Sealed, Suite, reader},
    shamir::{Interpolation, Sharing},
};
use dispers_node::rng;
use rand::Rng;

const MEMBERS: u8 = 3;
const NEEDED: usize = 2;
/// Numbers of homes per host. The homes of a host share its envelopes.
const PER_HOST: [usize; 2] = [1, 20];
/// Number of homes in one measurement.
const HOMES: usize = 40;
const BITS: u8 = 8;

type Group = Sealed<reader::DataAggregator, Vec<u8>>;

/// Costs of vectors of one length.
pub(super) struct Piece {
    pub(super) coordinates: usize,
    pub(super) per_host: usize,
    pub(super) proofs: bool,
    /// Milliseconds of processor time per home.
    pub(super) home_ms: f64,
    /// Bytes that a home sends.
    pub(super) upload: f64,
    /// Milliseconds per home at one aggregator.
    pub(super) aggregator_ms: f64,
}

fn context() -> Context {
    Context::new(labels::ENVELOPE_GROUP, Role::Stack, &())
}

fn milliseconds(taken: Duration, count: usize) -> f64 {
    taken.as_secs_f64() * 1e3 / count as f64
}

fn add(sums: &mut [u64], share: &[u64]) {
    for (sum, element) in sums.iter_mut().zip(share) {
        *sum = field::add(*sum, *element);
    }
}

/// Measures vectors of `coordinates` coordinates.
pub(super) fn measure(coordinates: usize) -> anyhow::Result<Vec<Piece>> {
    let vector = Vector::compile(&VectorShape {
        runs: Vec::new(),
        bits: BITS,
        sections: vec![Section::centred(coordinates)],
        norm: 1 << BITS,
    })?;
    let mut pieces = Vec::new();
    for per_host in PER_HOST {
        for proofs in [true, false] {
            pieces.push(Bench::new(&vector, per_host)?.piece(coordinates, proofs)?);
        }
    }
    Ok(pieces)
}

struct Bench<'a> {
    vector: &'a Vector,
    circuit: Circuit,
    per_host: usize,
    points: Vec<MemberNumber>,
    keys: Vec<EnvelopeSecretKey>,
}

impl<'a> Bench<'a> {
    fn new(vector: &'a Vector, per_host: usize) -> anyhow::Result<Self> {
        let points = (1..=MEMBERS).map(MemberNumber::new);
        let keys = (0..MEMBERS).map(|_| EnvelopeSecretKey::generate(Suite::default(), &mut rng()));
        Ok(Self {
            vector,
            circuit: Circuit::from(vector.clone()),
            per_host,
            points: points.collect::<Result<_, _>>()?,
            keys: keys.collect(),
        })
    }

    fn row(&self, coordinates: usize) -> VectorRow {
        let levels =
            (0..coordinates).map(|_| u64::from(rng().next_u32() >> (32 - u32::from(BITS))));
        VectorRow {
            sections: vec![Some(levels.collect())],
        }
    }

    fn piece(&self, coordinates: usize, proofs: bool) -> anyhow::Result<Piece> {
        let (mut home, mut upload) = (Duration::ZERO, 0);
        let mut received: Vec<Vec<Group>> = self.keys.iter().map(|_| Vec::new()).collect();
        for _ in 0..HOMES / self.per_host {
            let rows: Vec<VectorRow> = (0..self.per_host).map(|_| self.row(coordinates)).collect();
            let begun = Instant::now();
            let groups = match proofs {
                true => self.prove(&rows)?,
                false => self.share(&rows)?,
            };
            let sealed = groups.into_iter().zip(&self.keys).map(|(group, key)| {
                Group::seal_bytes(group, &key.public(), &context(), &mut rng())
            });
            let sealed: Vec<Group> = sealed.collect();
            home += begun.elapsed();
            for (received, group) in received.iter_mut().zip(sealed) {
                upload += dispers_base::encoding::to_bytes(&group).len();
                received.push(group);
            }
        }
        let aggregator = match proofs {
            true => self.verify(&received)?,
            false => self.add(&received)?,
        };
        let homes = HOMES / self.per_host * self.per_host;
        Ok(Piece {
            coordinates,
            per_host: self.per_host,
            proofs,
            home_ms: milliseconds(home, homes),
            upload: upload as f64 / homes as f64,
            aggregator_ms: milliseconds(aggregator, homes * usize::from(MEMBERS)),
        })
    }

    /// Proves, shares and encodes vectors as a stack does.
    fn prove(&self, rows: &[VectorRow]) -> anyhow::Result<Vec<Vec<u8>>> {
        let contributions = rows.iter().zip(0..).map(|(row, index)| {
            let tags = vec![[0; 16]; self.points.len()];
            Contribution::new(index, tags, &self.vector.encode(Some(row)))
        });
        let contributions: Vec<_> = contributions.collect();
        let groups = share(
            &self.circuit,
            &contributions,
            &self.points,
            NEEDED,
            &mut rng(),
        )?;
        Ok(groups.iter().map(|group| group.encode().to_vec()).collect())
    }

    /// Shares and encodes the same vectors without proofs.
    fn share(&self, rows: &[VectorRow]) -> anyhow::Result<Vec<Vec<u8>>> {
        let sharing = Sharing::new(&self.points, NEEDED)?;
        let length = self.circuit.input_len();
        let mut groups: Vec<Vec<u8>> = Vec::new();
        let mut expanders = Vec::new();
        // As with proofs, t − 1 members get a seed in place of their shares (protocol.md §8).
        for _ in 0..sharing.uniform() {
            let mut seed = [0; 32];
            rng().fill_bytes(&mut seed);
            groups.push(seed.to_vec());
            expanders.push(Expander::new(labels::EXPAND_SHARES, &seed));
        }
        groups.resize(self.points.len(), Vec::new());
        for row in rows {
            let input = self.vector.encode(Some(row));
            let uniform = expanders
                .iter_mut()
                .map(|expander| expander.elements(length));
            let uniform: Vec<Vec<u64>> = uniform.collect();
            let uniform: Vec<&[u64]> = uniform.iter().map(Vec::as_slice).collect();
            let explicit = sharing.complete(&input, &uniform);
            for (group, share) in groups[sharing.uniform()..].iter_mut().zip(explicit) {
                group.extend(share.iter().flat_map(|element| element.to_le_bytes()));
            }
        }
        Ok(groups)
    }

    /// Opens, verifies and adds up the vectors as every aggregator does.
    fn verify(&self, received: &[Vec<Group>]) -> anyhow::Result<Duration> {
        let (length, inputs) = (self.circuit.share_len(), self.circuit.input_len());
        let mut taken = Duration::ZERO;
        let mut messages: Vec<Vec<(Vec<u64>, [u8; 32])>> = Vec::new();
        let mut shares: Vec<Vec<Vec<u64>>> = Vec::new();
        let begun = Instant::now();
        let verifier = Verifier::compile(&self.circuit, &[7; 32]);
        // The compiled verifier serves a whole batch, which has more homes than are measured. Only part of
        // its cost counts.
        taken += begun.elapsed() / 10;
        for (position, (groups, key)) in received.iter().zip(&self.keys).enumerate() {
            let (mut own, mut kept) = (Vec::new(), Vec::new());
            let groups = groups.clone();
            let begun = Instant::now();
            for group in groups {
                let bytes = group.open_bytes(key, &context())?;
                let group = HeldGroup::decode(bytes, length, self.per_host)?;
                let mut place = 0;
                let mut committed = true;
                group.for_each(length, |_, share| {
                    let mut message = vec![0; self.circuit.message_len()];
                    verifier.write_message(share, &mut message);
                    let joint =
                        group.joint(place, position, self.points[position], &share[..inputs]);
                    committed &= joint.is_some();
                    own.push((message, joint.unwrap_or_default()));
                    kept.push(share[..inputs].to_vec());
                    place += 1;
                });
                ensure!(committed, "an honest commitment does not hold");
            }
            taken += begun.elapsed();
            messages.push(own);
            shares.push(kept);
        }
        let interpolation = Interpolation::new(&self.points, NEEDED)?;
        for own in &shares {
            let begun = Instant::now();
            let mut sums = vec![0; self.circuit.outputs().len()];
            for (home, share) in own.iter().enumerate() {
                let of: Vec<&[u64]> = messages.iter().map(|all| &all[home].0[..]).collect();
                let message = interpolation.open(&of).context("shares of one degree")?;
                let counts = self.circuit.accepts(&message, &messages[0][home].1);
                ensure!(counts, "an honest vector was rejected");
                self.circuit.add_outputs(share, &mut sums);
            }
            taken += begun.elapsed();
        }
        Ok(taken)
    }

    /// Opens and adds up vectors without proofs.
    fn add(&self, received: &[Vec<Group>]) -> anyhow::Result<Duration> {
        let length = self.circuit.input_len();
        let mut taken = Duration::ZERO;
        for (groups, key) in received.iter().zip(&self.keys) {
            let groups = groups.clone();
            let begun = Instant::now();
            let mut sums = vec![0; length];
            for group in groups {
                let bytes = group.open_bytes(key, &context())?;
                match <&[u8; 32]>::try_from(&bytes[..]) {
                    Ok(seed) => {
                        let mut expander = Expander::new(labels::EXPAND_SHARES, seed);
                        for _ in 0..self.per_host {
                            add(&mut sums, &expander.elements(length));
                        }
                    }
                    Err(_) => {
                        let words = bytes.as_chunks().0.iter();
                        let elements: Vec<u64> =
                            words.map(|word| u64::from_le_bytes(*word)).collect();
                        for share in elements.chunks_exact(length) {
                            add(&mut sums, share);
                        }
                    }
                }
            }
            let mut outputs = vec![0; self.circuit.outputs().len()];
            self.circuit.add_outputs(&sums, &mut outputs);
            taken += begun.elapsed();
        }
        Ok(taken)
    }
}
