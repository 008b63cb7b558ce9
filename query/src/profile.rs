//! Target profiles: trees over concepts that select the homes of a query (protocol.md §6).
//!
//! The tree is generic in its atoms, which stand for concepts: the querier uses names, the Target Finder pseudonyms.
//! The nodes are kept in postfix order, so that a stranger's bytes decode without recursion and cannot exhaust the call
//! stack.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use dispers_base::{encoding, labels};

use crate::invalid_data;

/// Largest number of nodes of a profile.
pub const MAX_NODES: usize = 256;
/// Largest depth of a profile.
pub const MAX_DEPTH: usize = 32;

/// Node of a profile. In postfix order, a node stands after its operands.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Step<A> {
    Atom(A),
    And(u16),
    Or(u16),
    Not,
}

impl<A> Step<A> {
    fn arity(&self) -> usize {
        match self {
            Self::Atom(_) => 0,
            Self::And(n) | Self::Or(n) => usize::from(*n),
            Self::Not => 1,
        }
    }
}

/// Error for nodes that are not a tree, or a tree with too many nodes or too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a target profile may have {MAX_NODES} nodes and depth {MAX_DEPTH}")]
pub struct InvalidProfile;

/// Boolean combination of concepts.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct Profile<A> {
    steps: Vec<Step<A>>,
}

impl<A> Profile<A> {
    /// Makes the profile of the homes that subscribed to `atom`.
    pub fn atom(atom: A) -> Self {
        Self {
            steps: vec![Step::Atom(atom)],
        }
    }

    /// Makes the profile of the homes that every one of `parts` selects.
    ///
    /// # Errors
    /// [`InvalidProfile`] without parts or beyond the bounds.
    pub fn and(parts: Vec<Self>) -> Result<Self, InvalidProfile> {
        Self::join(parts, Step::And)
    }

    /// Makes the profile of the homes that at least one of `parts` selects.
    ///
    /// # Errors
    /// [`InvalidProfile`] without parts or beyond the bounds.
    pub fn or(parts: Vec<Self>) -> Result<Self, InvalidProfile> {
        Self::join(parts, Step::Or)
    }

    /// Makes the profile of the homes that `part` does not select.
    ///
    /// # Errors
    /// [`InvalidProfile`] beyond the bounds.
    pub fn negate(mut part: Self) -> Result<Self, InvalidProfile> {
        part.steps.push(Step::Not);
        Self::checked(part.steps)
    }

    fn join(mut parts: Vec<Self>, step: fn(u16) -> Step<A>) -> Result<Self, InvalidProfile> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let count = u16::try_from(parts.len()).map_err(|_| InvalidProfile)?;
        let mut steps: Vec<_> = parts.into_iter().flat_map(|p| p.steps).collect();
        steps.push(step(count));
        Self::checked(steps)
    }

    /// Accepts `steps` if they are one tree within the bounds.
    fn checked(steps: Vec<Step<A>>) -> Result<Self, InvalidProfile> {
        if steps.len() > MAX_NODES {
            return Err(InvalidProfile);
        }
        let mut depths: Vec<usize> = Vec::new();
        for step in &steps {
            if matches!(step, Step::And(n) | Step::Or(n) if *n < 2) {
                // An AND or OR of one part is that part: it must not have a second encoding.
                return Err(InvalidProfile);
            }
            let rest = depths
                .len()
                .checked_sub(step.arity())
                .ok_or(InvalidProfile)?;
            let depth = 1 + depths.drain(rest..).max().unwrap_or(0);
            if depth > MAX_DEPTH {
                return Err(InvalidProfile);
            }
            depths.push(depth);
        }
        (depths.len() == 1)
            .then_some(Self { steps })
            .ok_or(InvalidProfile)
    }

    /// Returns the atoms in the order in which they were written, with repetitions.
    pub fn atoms(&self) -> impl Iterator<Item = &A> {
        self.steps.iter().filter_map(|step| match step {
            Step::Atom(atom) => Some(atom),
            _ => None,
        })
    }

    /// Returns the same profile with each atom replaced by the result of `f`.
    pub fn map<B>(&self, mut f: impl FnMut(&A) -> B) -> Profile<B> {
        let mapped: Result<_, std::convert::Infallible> = self.try_map(|atom| Ok(f(atom)));
        match mapped {
            Ok(profile) => profile,
            Err(never) => match never {},
        }
    }

    /// Returns the same profile with each atom replaced by the result of `f`.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_map<B, E>(&self, mut f: impl FnMut(&A) -> Result<B, E>) -> Result<Profile<B>, E> {
        let steps = self.steps.iter().map(|step| {
            Ok(match step {
                Step::Atom(atom) => Step::Atom(f(atom)?),
                Step::And(n) => Step::And(*n),
                Step::Or(n) => Step::Or(*n),
                Step::Not => Step::Not,
            })
        });
        Ok(Profile {
            steps: steps.collect::<Result<_, _>>()?,
        })
    }

    /// Returns whether the profile selects a home. `subscribed` returns whether the home subscribed to an atom.
    pub fn matches(&self, subscribed: &dyn Fn(&A) -> bool) -> bool {
        let mut stack: Vec<bool> = Vec::new();
        for step in &self.steps {
            let operands = stack.split_off(stack.len() - step.arity());
            stack.push(match step {
                Step::Atom(atom) => subscribed(atom),
                Step::And(_) => operands.iter().all(|b| *b),
                Step::Or(_) => operands.iter().any(|b| *b),
                Step::Not => !operands[0],
            });
        }
        stack.pop().expect("a checked profile leaves one value")
    }
}

impl<A: BorshSerialize> Profile<A> {
    /// Returns a digest that is equal for profiles which differ only in order, repetition, nesting or double negation.
    ///
    /// It names the population that has a budget (protocol.md §9). Profiles that are equivalent for other reasons have
    /// different digests; the Target Finder refuses a second profile with the same homes.
    pub fn canonical(&self) -> [u8; 32]
    where
        A: Ord + Clone,
    {
        let mut stack: Vec<Canonical<A>> = Vec::new();
        for step in &self.steps {
            let parts = stack.split_off(stack.len() - step.arity());
            stack.push(Canonical::of(step, parts));
        }
        encoding::hash(
            labels::HASH_CANONICAL_PROFILE,
            &[&encoding::to_bytes(&stack)],
        )
    }

    /// Returns the manifest's commitment to the profile. It binds the querier to the profile and, if `salt` is random,
    /// hides the profile.
    pub fn commitment(&self, salt: &[u8; 32]) -> [u8; 32] {
        // A profile can be guessed: without a salt, anybody could confirm a guess by its hash.
        encoding::hash(labels::HASH_PROFILE, &[salt, &encoding::to_bytes(self)])
    }
}

/// Profile as a tree without order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, BorshSerialize)]
enum Canonical<A> {
    Atom(A),
    Not(Box<Canonical<A>>),
    And(BTreeSet<Canonical<A>>),
    Or(BTreeSet<Canonical<A>>),
}

impl<A: Ord + Clone> Canonical<A> {
    fn of(step: &Step<A>, mut parts: Vec<Self>) -> Self {
        match step {
            Step::Atom(atom) => Self::Atom(atom.clone()),
            Step::Not => match parts.remove(0) {
                Self::Not(inner) => *inner,
                other => Self::Not(Box::new(other)),
            },
            Step::And(_) => {
                // AND is associative: the parts of a nested AND belong to the outer one. Likewise OR.
                let parts = parts.into_iter().flat_map(|part| match part {
                    Self::And(set) => set,
                    part => BTreeSet::from([part]),
                });
                Self::joined(parts.collect(), Self::And)
            }
            Step::Or(_) => {
                let parts = parts.into_iter().flat_map(|part| match part {
                    Self::Or(set) => set,
                    part => BTreeSet::from([part]),
                });
                Self::joined(parts.collect(), Self::Or)
            }
        }
    }

    /// Returns the AND or OR of `parts`, as `join` makes it. After merging equal parts a set may have one member: the
    /// AND or OR of it is that member.
    fn joined(mut parts: BTreeSet<Self>, join: fn(BTreeSet<Self>) -> Self) -> Self {
        match parts.len() {
            1 => parts.pop_first().expect("there is one"),
            _ => join(parts),
        }
    }
}

impl<A: BorshDeserialize> BorshDeserialize for Profile<A> {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let len = u32::deserialize_reader(reader)? as usize;
        // Before the nodes are read, so that a stranger's length allocates nothing.
        if len > MAX_NODES {
            return Err(invalid_data(InvalidProfile));
        }
        let steps = (0..len)
            .map(|_| Step::deserialize_reader(reader))
            .collect::<borsh::io::Result<_>>()?;
        Self::checked(steps).map_err(invalid_data)
    }
}

impl<A: std::fmt::Display> std::fmt::Display for Profile<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut stack: Vec<String> = Vec::new();
        for step in &self.steps {
            let operands = stack.split_off(stack.len() - step.arity());
            stack.push(match step {
                Step::Atom(atom) => format!("concept('{atom}')"),
                Step::And(_) => format!("({})", operands.join(" AND ")),
                Step::Or(_) => format!("({})", operands.join(" OR ")),
                Step::Not => format!("NOT {}", operands[0]),
            });
        }
        f.write_str(&stack.pop().expect("a checked profile leaves one value"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn atom(name: &str) -> Profile<String> {
        Profile::atom(name.to_owned())
    }

    fn example() -> Profile<String> {
        let not = Profile::negate(atom("asthma>1")).unwrap();
        let either = Profile::or(vec![atom("city>lyon"), atom("city>paris")]).unwrap();
        Profile::and(vec![atom("sex>female"), not, either]).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<Profile<u8>, dispers_base::encoding::DecodeError> {
        encoding::from_bytes(bytes, 100_000, "profile")
    }

    #[test]
    fn a_profile_is_the_same_however_it_is_written() {
        let not = |part| Profile::negate(part).unwrap();
        let and = |parts| Profile::and(parts).unwrap();
        let or = |parts| Profile::or(parts).unwrap();
        let (a, b, c) = (|| atom("a"), || atom("b"), || atom("c"));
        let same = |one: Profile<String>, other: Profile<String>| {
            assert!(one.canonical() == other.canonical(), "{one} {other}");
        };
        same(and(vec![a(), b()]), and(vec![b(), a(), b()]));
        same(
            and(vec![a(), and(vec![b(), c()])]),
            and(vec![and(vec![c(), a()]), b()]),
        );
        same(not(not(a())), a());
        same(or(vec![a(), a()]), a());
        same(
            not(or(vec![a(), or(vec![c(), b()])])),
            not(or(vec![b(), c(), a()])),
        );
        let all = [a(), not(a()), b(), and(vec![a(), b()]), or(vec![a(), b()])];
        let digests: BTreeSet<_> = all.iter().map(Profile::canonical).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn a_home_matches_by_its_subscriptions() {
        let matches = |concepts: &[&str]| example().matches(&|a| concepts.contains(&a.as_str()));
        assert!(matches(&["sex>female", "city>lyon"]));
        assert!(!matches(&["sex>female", "city>lyon", "asthma>1"]));
        assert!(!matches(&["sex>female"]));
        assert!(!matches(&[]));
    }

    #[test]
    fn a_profile_reads_as_sql() {
        assert_eq!(
            example().to_string(),
            "(concept('sex>female') AND NOT concept('asthma>1') AND \
             (concept('city>lyon') OR concept('city>paris')))"
        );
    }

    #[test]
    fn mapping_keeps_the_tree() {
        let lengths = example().map(|a| a.len());
        assert_eq!(lengths.atoms().copied().collect::<Vec<_>>(), [10, 8, 9, 10]);
        assert!(example().try_map(|a| a.parse::<u8>()).is_err());
    }

    #[test]
    fn the_commitment_binds_salt_and_tree() {
        let one = example().commitment(&[0; 32]);
        assert_eq!(one, example().commitment(&[0; 32]));
        assert_ne!(one, example().commitment(&[1; 32]));
        let negated = Profile::negate(example()).unwrap();
        assert_ne!(one, negated.commitment(&[0; 32]));
    }

    #[test]
    fn what_is_no_bounded_tree_neither_decodes_nor_is_made() {
        type S = Step<u8>;
        let bad: Vec<Vec<S>> = vec![
            vec![],
            vec![S::Not],
            vec![S::Atom(1), S::Atom(2)],
            vec![S::Atom(1), S::And(2)],
            vec![S::Atom(1), S::And(1)],
            vec![S::Atom(1), S::Or(0)],
            [S::Atom(1)]
                .into_iter()
                .chain((0..40).map(|_| S::Not))
                .collect(),
            (0..300).map(S_ATOM).chain([S::Or(300)]).collect(),
        ];
        const S_ATOM: fn(u16) -> S = |n| S::Atom(n as u8);
        for steps in bad {
            assert!(decode(&encoding::to_bytes(&Profile { steps })).is_err());
        }
        assert!(decode(&[1, 255, 255, 255, 255]).is_err());
        assert!(Profile::<u8>::and(Vec::new()).is_err());
        assert!(Profile::or((0..300).map(Profile::atom).collect()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(0u8..6, 0..60)) {
            if let Ok(profile) = decode(&bytes) {
                profile.matches(&|a| *a == 0);
                prop_assert_eq!(encoding::to_bytes(&profile), bytes);
            }
        }
    }
}
