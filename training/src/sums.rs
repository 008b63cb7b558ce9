//! Sums that a round released, in the units of the model.

use dispers_privacy::Noise;

/// Sums over homes that a round released, and how exact they are.
pub struct Sums {
    /// Number of homes that contributed. Where that may not be released, it is the number of homes in the released
    /// sections (protocol.md §18).
    pub(crate) homes: f64,
    /// For each section the number of homes and the sum of each coordinate; `None` for a section that was withheld.
    pub(crate) sections: Vec<Option<(f64, Vec<f64>)>>,
    /// Distance between two levels of each coordinate of the first section.
    pub(crate) widths: Vec<f64>,
    /// Distance between two levels of a range of 1.
    pub(crate) level: f64,
    /// Standard deviation of the noise on a sum, in levels; 0 without noise.
    pub(crate) noise: f64,
}

impl Sums {
    /// Records the noise of the sums, with one entry for each committee whose sums were added up.
    pub(crate) fn with_noise(mut self, noise: &[Noise]) -> Self {
        // Moment 0 is that of counts, moment 1 that of coordinates.
        let variance: f64 = noise.iter().map(|noise| noise.variance(1)).sum();
        self.noise = variance.sqrt();
        self
    }

    /// Returns the number of homes of each section except the first; `None` where it is withheld, or added to an
    /// earlier one.
    pub(crate) fn counts(&self) -> Vec<Option<f64>> {
        let sections = self.sections.iter().skip(1);
        sections
            .map(|section| section.as_ref().map(|(count, _)| *count))
            .collect()
    }

    /// Returns the means of the first section over all homes.
    pub fn means(&self) -> Option<Vec<f64>> {
        let (homes, sums) = self.sections.first()?.as_ref()?;
        (*homes > 0.0).then(|| sums.iter().map(|sum| sum / homes).collect())
    }

    /// Returns whether the sums have noise.
    pub(crate) fn is_noisy(&self) -> bool {
        self.noise > 0.0
    }

    /// Returns the standard deviation of the noise on each mean of the first section.
    pub(crate) fn deviations(&self) -> Vec<f64> {
        let widths = self.widths.iter();
        widths
            .map(|width| width * self.noise / self.homes)
            .collect()
    }

    /// Returns how far a mean over `homes` homes may be off because of rounding and noise, for values of this range:
    /// three standard deviations.
    pub(crate) fn rounding(&self, range: f64, homes: f64) -> f64 {
        // Rounding at random has a standard deviation of at most half a level at each home.
        let level = range * self.level;
        1.5 * level / homes.sqrt() + 3.0 * level * self.noise / homes
    }
}
