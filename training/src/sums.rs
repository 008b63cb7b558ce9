//! What a round released, as numbers of a model.

use dispers_privacy::Noise;

/// Sums over homes that a round released, and how exact they are.
pub struct Sums {
    /// Homes that contributed, those that are held out apart.
    pub(crate) homes: f64,
    /// For each section the number of homes and the sum of each coordinate; `None` where fewer than the cohort have
    /// values there.
    pub(crate) sections: Vec<Option<(f64, Vec<f64>)>>,
    /// Distance between two levels of each coordinate of the first section.
    pub(crate) widths: Vec<f64>,
    /// Distance between two levels of a range of 1.
    pub(crate) level: f64,
    /// Standard deviation of the noise on a sum, in levels; 0 without noise.
    pub(crate) noise: f64,
}

impl Sums {
    /// Adds how much noise the sums have: one entry for each committee whose sums were added up.
    pub(crate) fn with_noise(mut self, noise: &[Noise]) -> Self {
        // The first moment is that of counts.
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

    /// Returns the standard deviation that noise gives each mean of the first section.
    pub(crate) fn deviations(&self) -> Vec<f64> {
        let widths = self.widths.iter();
        widths
            .map(|width| width * self.noise / self.homes)
            .collect()
    }

    /// Returns how far a mean over `homes` may be off, because each home rounds and because of noise, where values
    /// have this range: three times the largest deviation.
    pub(crate) fn rounding(&self, range: f64, homes: f64) -> f64 {
        let level = range * self.level;
        1.5 * level / homes.sqrt() + 3.0 * level * self.noise / homes
    }
}
