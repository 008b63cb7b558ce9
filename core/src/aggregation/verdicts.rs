//! Decisions of a quorum on a batch: which contributions count, and which member contradicts the others (protocol.md
//! §8).

use borsh::{BorshDeserialize, BorshSerialize};

use super::AggregationError;
use dispers_base::id::MemberNumber;
use dispers_circuit::Circuit;
use dispers_crypto::shamir::Interpolation;

/// Aggregators that verify a batch together, in increasing order.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Quorum(Vec<MemberNumber>);

impl Quorum {
    /// Creates a quorum. Sorts the members and removes repetitions.
    pub fn new(members: impl IntoIterator<Item = MemberNumber>) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        Self(members)
    }

    /// Returns the members, in increasing order.
    pub fn members(&self) -> &[MemberNumber] {
        &self.0
    }
}

/// Returns whether `groups` of `of` hosts are more than colluding hosts may fail without blame: at least two, and more
/// than a quarter of all.
pub(super) fn several(groups: usize, of: usize) -> bool {
    groups >= 2 && groups * 4 > of
}

pub(super) fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8)
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// Message of one member of a quorum.
#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    /// Bitmap of the indices at which the member holds a share.
    pub(super) present: &'a [u8],
    /// Elements of the messages, index after index.
    pub(super) messages: &'a [u64],
    /// Joint randomness per index; empty where there is none.
    pub(super) joints: &'a [[u8; 32]],
}

/// Decisions of a set of members on a batch.
pub(super) struct Verdicts {
    /// Bitmap of the counted indices.
    pub(super) bitmap: Vec<u8>,
    pub(super) accepted: u32,
    /// Number of contributions that all members hold and that are on no polynomial.
    pub(super) inconsistent: u32,
    /// Number of contributions that only some members hold.
    pub(super) partial: u32,
}

/// Finding about one contribution, from the messages of a quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// No member has a share.
    Missing,
    /// Some members have a share.
    Partial,
    /// The messages are on no polynomial of degree t-1, or the members commit to different shares.
    Inconsistent,
    /// The proof is wrong.
    Refused,
    Counted,
}

/// Messages of some members, with the buffers in which each contribution is checked.
struct Examined<'a> {
    circuit: &'a Circuit,
    columns: &'a [Column<'a>],
    interpolation: Interpolation,
    values: Vec<u64>,
    message: Vec<u64>,
}

impl<'a> Examined<'a> {
    fn new(
        circuit: &'a Circuit,
        members: &[MemberNumber],
        columns: &'a [Column<'a>],
        needed: usize,
    ) -> Result<Self, AggregationError> {
        let interpolation = Interpolation::new(members, needed);
        Ok(Self {
            circuit,
            columns,
            interpolation: interpolation.map_err(|_| AggregationError::BadQuorum)?,
            values: vec![0; columns.len()],
            message: vec![0; circuit.message_len()],
        })
    }

    /// > All messages of V on one polynomial of degree t-1, the proof accepts, no share or τ
    /// > missing in V: counted. Else rejected, alone.
    fn find(&mut self, index: usize) -> Finding {
        let columns = self.columns;
        let holders = columns.iter().filter(|column| bit(column.present, index));
        match holders.count() {
            0 => return Finding::Missing,
            some if some < columns.len() => return Finding::Partial,
            _ => {}
        }
        // All members must have seen commitments to the same shares. Otherwise the home chose its joint randomness.
        let joint = columns.first().and_then(|column| column.joints.get(index));
        if !columns
            .iter()
            .all(|column| column.joints.get(index) == joint)
        {
            return Finding::Inconsistent;
        }
        let start = self.message.len() * index;
        for (element, at_zero) in self.message.iter_mut().enumerate() {
            for (value, column) in self.values.iter_mut().zip(columns) {
                *value = column.messages[start + element];
            }
            if !self.interpolation.consistent(&self.values) {
                return Finding::Inconsistent;
            }
            *at_zero = self.interpolation.at_zero(&self.values);
        }
        match self
            .circuit
            .accepts(&self.message, joint.unwrap_or(&[0; 32]))
        {
            true => Finding::Counted,
            false => Finding::Refused,
        }
    }
}

impl Verdicts {
    pub(super) fn of(
        circuit: &Circuit,
        members: &[MemberNumber],
        columns: &[Column<'_>],
        needed: usize,
        count: usize,
    ) -> Result<Self, AggregationError> {
        let mut examined = Examined::new(circuit, members, columns, needed)?;
        let mut verdicts = Self {
            bitmap: vec![0u8; count.div_ceil(8)],
            accepted: 0,
            inconsistent: 0,
            partial: 0,
        };
        for index in 0..count {
            match examined.find(index) {
                Finding::Missing | Finding::Refused => {}
                Finding::Partial => verdicts.partial += 1,
                Finding::Inconsistent => verdicts.inconsistent += 1,
                Finding::Counted => {
                    verdicts.bitmap[index / 8] |= 1 << (index % 8);
                    verdicts.accepted += 1;
                }
            }
        }
        Ok(verdicts)
    }
}

/// Returns the number of indices of which any member holds a share.
pub(super) fn held(columns: &[Column<'_>], count: usize) -> usize {
    let held = (0..count).filter(|index| columns.iter().any(|column| bit(column.present, *index)));
    held.count()
}

/// Finds the one member for which `right` holds of the others' decisions without it. A proof that is verified with a
/// false message is refused, so that a set with a liar in it counts few contributions. Homes can frame a member only
/// for their own contributions.
pub(super) fn suspect(
    circuit: &Circuit,
    quorum: &Quorum,
    columns: &[Column<'_>],
    needed: usize,
    min_verified: usize,
    count: usize,
    right: &dyn Fn(MemberNumber, &Verdicts) -> bool,
) -> Option<MemberNumber> {
    // Without the suspect, the others must still reach the threshold and the manifest's `min_verified`.
    if columns.len() <= needed.max(min_verified) {
        return None;
    }
    let mut suspects = (0..columns.len()).filter_map(|left_out| {
        let (mut members, mut others) = (quorum.members().to_vec(), columns.to_vec());
        let member = members.remove(left_out);
        others.remove(left_out);
        let verdicts = Verdicts::of(circuit, &members, &others, needed, count).ok()?;
        right(member, &verdicts).then_some(member)
    });
    // With two possible suspects, the messages do not show which of them lies.
    match (suspects.next(), suspects.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

/// Largest quorum of which all subsets are examined: up to 2¹².
pub(crate) const LARGEST_EXAMINED: usize = 12;

/// Party at fault for dealt noise that does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The dealer. Whichever t-1 members lie, the noise does not count.
    Dealer,
    /// The dealer, or all of these members. Without them the noise counts.
    DealerOr(Vec<MemberNumber>),
    /// The messages do not show which party is at fault.
    Unknown,
}

/// Finds who may be at fault for the noise of the dealer at `index`, which does not count.
///
/// Up to t-1 members may lie about their shares of an honest dealer's noise, and the others then agree that it is
/// right. So the smallest set without which it is right is looked for. At least t members must be left, since fewer
/// show nothing, and the messages of exactly t members lie on a polynomial whatever they are: only the proof is
/// checked.
pub(super) fn fault(
    circuit: &Circuit,
    quorum: &Quorum,
    columns: &[Column<'_>],
    needed: usize,
    index: usize,
) -> Fault {
    let members = quorum.members();
    let most = members.len().saturating_sub(needed).min(needed - 1);
    if most == 0 {
        return Fault::Unknown;
    }
    let without = columns.iter().filter(|column| !bit(column.present, index));
    // In a quorum of 2t-1 or more at least t members are honest, and their messages alone determine the polynomial.
    let honest_decide = members.len() + 1 >= 2 * needed;
    if without.count() >= needed
        || honest_decide
            && finding(circuit, members, columns, needed, index) == Some(Finding::Refused)
    {
        return Fault::Dealer;
    }
    // The number of sets doubles with each member: of a larger quorum only single members are left out.
    let single = members.len() > LARGEST_EXAMINED;
    // Sets of members, each with one bit per place in the quorum.
    let mut sets: Box<dyn Iterator<Item = u64>> = match single {
        true => Box::new((0..members.len().min(64)).map(|place| 1 << place)),
        false => Box::new((1..=most).flat_map(|size| {
            let sets = 0u64..1 << members.len();
            sets.filter(move |set| set.count_ones() as usize == size)
        })),
    };
    let liars = sets.find(|set| {
        let left = (0..members.len()).filter(|place| set >> place & 1 == 0);
        let (others, theirs): (Vec<_>, Vec<_>) =
            left.map(|place| (members[place], columns[place])).unzip();
        finding(circuit, &others, &theirs, needed, index) == Some(Finding::Counted)
    });
    match liars {
        Some(set) => {
            let places = (0..members.len()).filter(|place| set >> place & 1 == 1);
            Fault::DealerOr(places.map(|place| members[place]).collect())
        }
        None if single => Fault::Unknown,
        None => Fault::Dealer,
    }
}

/// Returns what the messages of `members` show about a contribution; `None` if nothing can be decided from them.
fn finding(
    circuit: &Circuit,
    members: &[MemberNumber],
    columns: &[Column<'_>],
    needed: usize,
    index: usize,
) -> Option<Finding> {
    let examined = Examined::new(circuit, members, columns, needed);
    examined.map(|mut examined| examined.find(index)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispers_circuit::Shape;

    #[test]
    fn one_host_or_a_quarter_of_them_names_nobody() {
        for (groups, all) in [(0, 0), (1, 1), (1, 2), (2, 8), (250, 1000)] {
            assert!(!several(groups, all), "{groups} of {all}");
        }
        for (groups, all) in [(2, 2), (2, 7), (3, 8), (251, 1000)] {
            assert!(several(groups, all), "{groups} of {all}");
        }
    }

    #[test]
    fn what_nobody_holds_is_not_held_by_some() {
        let members = [1, 2, 3].map(|number| MemberNumber::new(number).unwrap());
        let circuit = Circuit::compile(&Shape::summing(0, [])).unwrap();
        let messages = vec![0; 5 * circuit.message_len()];
        let column = Column {
            present: &[0b0_0001],
            messages: &messages,
            joints: &[],
        };
        let columns: Vec<Column<'_>> = vec![column; 3];
        let verdicts = Verdicts::of(&circuit, &members, &columns, 2, 5).unwrap();
        assert_eq!(
            (verdicts.accepted, verdicts.inconsistent, verdicts.partial),
            (1, 0, 0)
        );
        let mut columns = columns;
        columns[1].present = &[0b0_0011];
        let verdicts = Verdicts::of(&circuit, &members, &columns, 2, 5).unwrap();
        assert_eq!(
            (verdicts.accepted, verdicts.inconsistent, verdicts.partial),
            (1, 0, 1)
        );
    }
}
