//! Rules for the counts of a training's last round: scores, right and wrong predictions (protocol.md §18).

use crate::mask::Rule;
use crate::violations::is_few;
use crate::{Mask, Vector};

impl Vector {
    /// Returns the outputs that count right and wrong predictions of two classes, if the vector has scores.
    pub(super) fn sides(&self) -> Option<[usize; 2]> {
        let last = self.runs().last()?;
        Some([last.end, last.end + 1])
    }

    /// Returns the number of homes in the released sections, which replaces the rows. It follows from the released
    /// numbers, so that it reveals nothing more, and is below the rows by less than the cohort. `count` returns the
    /// count at an output.
    pub(crate) fn released_rows(&self, mask: &Mask, count: impl Fn(usize) -> i128) -> u64 {
        let sides = self.sides();
        let mut sections = 0;
        for (output, one) in self.outputs().iter().enumerate().skip(1) {
            let is_section = one.guard == output && !sides.is_some_and(|s| s.contains(&output));
            if is_section && matches!(mask.rule(output), Rule::Released(_)) {
                sections += count(output);
            }
        }
        // Each home with a score is on one side. So the two sides together also number these homes, where the scores
        // are withheld.
        let sides = sides.filter(|sides| {
            let mut sides = sides.iter();
            sides.all(|side| matches!(mask.rule(*side), Rule::Released(_)))
        });
        let sides = sides.map_or(0, |sides| sides.map(&count).iter().sum());
        u64::try_from(sections.max(sides)).unwrap_or(0)
    }

    /// Withholds the counts of right and wrong predictions of two classes, unless both reach the cohort. If they do,
    /// the scores are withheld unless all of them are released, and the homes of each side outside the runs of that
    /// side alone are none or reach the cohort.
    ///
    /// The scores go rather than the two counts: from few homes follows a useful accuracy, and no useful curve.
    pub(super) fn withhold_sides_or_scores(
        &self,
        mask: &mut Mask,
        cohort: i128,
        count: impl Fn(usize) -> i128,
    ) {
        let Some(sides) = self.sides() else { return };
        let mut rest = sides.map(&count);
        if rest.iter().any(|side| *side < cohort) {
            mask.withhold(&sides);
            return;
        }
        let mut all = true;
        for (class, range) in self.runs().iter().enumerate() {
            let middle = range.start + range.len() / 2;
            let mut released = false;
            for output in range.clone() {
                let Rule::Released(run @ 1..) = mask.rule(output) else {
                    continue;
                };
                released = true;
                let upper = output >= middle;
                if upper || output + run <= middle {
                    let people: i128 = (output..output + run).map(&count).sum();
                    rest[usize::from(upper != (class == 1))] -= people;
                }
            }
            all &= released;
        }
        if !all || rest.iter().any(|rest| is_few(*rest, cohort)) {
            for range in self.runs() {
                mask.withhold(&range.clone().collect::<Vec<usize>>());
            }
        }
    }
}
