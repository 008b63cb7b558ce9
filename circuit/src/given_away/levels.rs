//! Rule for sums beside counted levels of the same variable (protocol.md §9).

use crate::mask::Rule;
use crate::{Layout, Mask, Moment, Rows};

impl Rows {
    /// Withholds the sum of a value, and of its square, beside levels that they would reveal: where few levels were
    /// merged or withheld, there are as many equations as unknown numbers.
    pub(super) fn withhold_sums_beside_levels(&self, mask: &mut Mask) {
        let layout = Layout::of(self.shape());
        let moments = &self.shape().moments;
        for moment in moments {
            let Moment::Levels { variable, .. } = moment else {
                continue;
            };
            let powers: Vec<&Moment> = moments
                .iter()
                .filter(|other| is_power_sum(other, *variable))
                .collect();
            for group in 0..layout.groups() {
                let sums = powers.iter().filter_map(|sum| layout.moment(group, sum));
                let sums: Vec<usize> = sums.map(|range| range.start).collect();
                let released = sums.iter().filter(|sum| mask.is_released(**sum)).count();
                let levels = layout.moment(group, moment);
                let Some(levels) = levels.filter(|_| released > 0) else {
                    continue;
                };
                // Unknown levels that the sums may reveal: both sums leave five or more in one run undetermined.
                let most = if released > 1 { 4 } else { 2 };
                let merged = self.runs().contains(&levels);
                let unknown = match merged {
                    // A level that is a run of its own is not unknown.
                    true => levels
                        .map(|level| match mask.rule(level) {
                            Rule::Released(count) => count,
                            _ => 0,
                        })
                        .max()
                        .filter(|longest| *longest > 1),
                    false => {
                        let withheld = levels.filter(|level| mask.rule(*level) == Rule::Withheld);
                        Some(withheld.count()).filter(|withheld| *withheld > 0)
                    }
                };
                if unknown.is_some_and(|unknown| unknown <= most) {
                    mask.withhold(&sums);
                }
            }
        }
    }
}

/// Returns whether a moment is the sum of a variable, or of its square, over all homes that have a value.
fn is_power_sum(moment: &Moment, variable: u16) -> bool {
    match moment {
        Moment::Product { present, factors } => {
            !factors.is_empty()
                && factors.iter().all(|factor| *factor == variable)
                && present.iter().all(|one| *one == variable)
        }
        Moment::Levels { .. } => false,
    }
}
