//! Counts of people that follow from sums of variables with few levels (protocol.md §9).

use super::{Atom, Counts, Opening, Traits};
use crate::{Layout, Moment, Rows};
use dispers_base::field;
use dispers_query::local::{Fact, Facts};

impl Rows {
    /// Adds the counts that follow from the sum P of a variable of three levels over the homes that meet a condition b:
    /// a bit, values that are not NULL, or both. Beside it are the number B of these homes, and the numbers L0 and L2
    /// of homes with the lowest and the highest level among the same homes or more. Then B + L2 − P homes meet b and
    /// have the lowest level, or do not meet it and have the highest; and L0 − B + P the opposite. L0 and L2 may follow
    /// from sums, as in [`few_levels`](Self::few_levels). With other numbers of levels nothing follows: the sum would
    /// have to be linear in the level and yet differ by at most one between the two values of the condition.
    pub(super) fn sum_beside_levels(
        &self,
        group: usize,
        present: &[u16],
        factors: &[u16],
        counts: &mut Counts,
    ) {
        let (bits, variable): (&[u16], u16) = match factors {
            [variable] if self.max(*variable) == 2 => (&[], *variable),
            [bit, variable] if self.is_bit(*bit) && self.max(*variable) == 2 => {
                (&factors[..1], *variable)
            }
            [variable, bit] if self.is_bit(*bit) && self.max(*variable) == 2 => {
                (&factors[1..], *variable)
            }
            _ => return,
        };
        let of_condition = self.sum_of(group, present, bits);
        let Some((of_condition, of_both)) = of_condition.zip(self.sum_of(group, present, factors))
        else {
            return;
        };
        let (half, minus) = (field::inverse(2), field::neg(1));
        let three_halves = field::mul(3, half);
        let own = self.present(variable).len();
        let mut levels: Vec<[Vec<(usize, u64)>; 2]> = Vec::new();
        for moment in &self.shape().moments {
            match moment {
                // Among the same homes, the counts are those at the levels themselves.
                Moment::Levels { variable: of, .. }
                    if *of == variable && (!bits.is_empty() || present.len() > own) =>
                {
                    let range = self.moment(group, moment);
                    levels.push([vec![(range.start, 1)], vec![(range.start + 2, 1)]]);
                }
                Moment::Product {
                    present: wider,
                    factors: squares,
                } if *squares == [variable, variable]
                    && wider.iter().all(|one| present.contains(one))
                    && (!bits.is_empty() || wider.len() < present.len()) =>
                {
                    let rows = self.sum_of(group, wider, &[]);
                    if let Some((rows, sum)) = rows.zip(self.sum_of(group, wider, &[variable])) {
                        let squares = self.moment(group, moment).start;
                        levels.push([
                            vec![(rows, 1), (sum, field::neg(three_halves)), (squares, half)],
                            vec![(sum, field::neg(half)), (squares, half)],
                        ]);
                    }
                }
                _ => {}
            }
        }
        for [lowest, highest] in levels {
            for (level, of_condition_weight, of_both_weight) in
                [(highest, 1, minus), (lowest, minus, 1)]
            {
                let both = [
                    (of_condition, of_condition_weight),
                    (of_both, of_both_weight),
                ];
                let opening = Opening([level, both.to_vec()].concat());
                let people = counts.add(group, None, Traits::default(), opening, false);
                people.outputs.push(of_both);
            }
        }
    }

    /// Returns the output that is the sum of a product, if the query sums it. Without variables it is the number of
    /// rows.
    fn sum_of(&self, group: usize, present: &[u16], factors: &[u16]) -> Option<usize> {
        let layout = Layout::of(self.shape());
        if present.is_empty() && factors.is_empty() {
            return Some(layout.rows(group));
        }
        let moment = Moment::Product {
            present: present.to_vec(),
            factors: factors.to_vec(),
        };
        Some(layout.moment(group, &moment)?.start)
    }

    fn max(&self, variable: u16) -> u64 {
        self.shape().variables[usize::from(variable)].max
    }

    /// Adds the counts that follow from the sum S and the sum of squares Q of a variable. With three levels, 2S − Q
    /// homes have level 1 and (Q − S)/2 have level 2; with four levels, (3S − Q)/2 homes have level 1 or 2.
    pub(super) fn few_levels(
        &self,
        group: usize,
        present: &[u16],
        factors: &[u16],
        facts: &Facts,
        counts: &mut Counts,
    ) {
        let [one, other] = *factors else { return };
        let sums = self.sum_of(group, present, &[one]);
        let sums = sums.zip(self.sum_of(group, present, factors));
        let Some((sum, squares)) = sums.filter(|_| one == other) else {
            return;
        };
        let half = field::inverse(2);
        let followed: &[(u64, u64, u64, u64)] = match self.max(one) {
            2 => &[(1, 1, 2, field::neg(1)), (2, 2, field::neg(half), half)],
            3 => &[(1, 2, field::mul(3, half), field::neg(half))],
            _ => return,
        };
        for &(low, high, of_sum, of_squares) in followed {
            let atoms = present.iter().copied().map(Atom::Present).collect();
            let traits = Traits::of(&atoms, facts).with(Fact::Level(one, low, high));
            let opening = Opening(vec![(sum, of_sum), (squares, of_squares)]);
            let people = counts.add(group, None, traits, opening, false);
            people.outputs.push(squares);
        }
    }
}
