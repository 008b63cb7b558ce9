//! Rules that a session from an untrusted querier must keep.

use super::data::Design;
use super::layout::Layout;
use super::models::require;
use super::{
    Feature, InvalidTraining, MAX_BUCKETS, MAX_CLASSES, MAX_COLUMNS, MAX_ROUNDS, Training,
};
use dispers_query::local::{LocalQuery, Measure};

impl Training {
    /// Checks a session against its local query and the manifest's number of rounds.
    ///
    /// # Errors
    /// [`InvalidTraining`] for the first rule that is broken.
    pub fn validate(&self, local: &LocalQuery, rounds: u16) -> Result<(), InvalidTraining> {
        if !local.keys.is_empty() || !local.moments.is_empty() {
            return Err(InvalidTraining::Sums);
        }
        require(
            !self.features.is_empty() && self.features.len() <= local.measures.len(),
            "a model has at least one feature, and each once",
        )?;
        let mut features = self.features.iter().enumerate();
        require(
            !features.any(|(number, feature)| self.features[..number].contains(feature)),
            "a model has at least one feature, and each once",
        )?;
        // Coordinates are proved in digits of 4 bits (protocol.md §7).
        require(
            self.bits > 0 && self.bits <= 24 && self.bits.is_multiple_of(4),
            "a coordinate has 4, 8, 12, 16, 20 or 24 bits",
        )?;
        require(
            self.clip.is_finite() && self.clip > 0.0,
            "the longest update is a number above 0",
        )?;
        require(
            self.held_out <= 900,
            "at most 900 thousandths of the homes are held out",
        )?;
        require(
            (1..=MAX_ROUNDS).contains(&self.updates),
            "a session has 1 to 1024 rounds of updates",
        )?;
        for feature in &self.features {
            match *feature {
                Feature::Number(number) => {
                    let grid = measure(local, number)?.quantiser;
                    grid.ok_or(InvalidTraining::Measure)?;
                }
                Feature::Category(number) => {
                    let grid = measure(local, number)?.quantiser;
                    // The measure of a category numbers its values 0, 1, 2 and so on.
                    let grid = grid.filter(|grid| grid.lo() == 0.0 && grid.width() == 1.0);
                    let levels = grid.ok_or(InvalidTraining::Measure)?.max();
                    require(levels < 4096, "a category has at most 4096 values")?;
                }
                Feature::Words {
                    measure: number,
                    buckets,
                } => {
                    if measure(local, number)?.quantiser.is_some() {
                        return Err(InvalidTraining::Measure);
                    }
                    require(
                        (2..=MAX_BUCKETS).contains(&buckets),
                        "words are hashed into 2 to 16384 buckets",
                    )?;
                }
            }
        }
        if let Some(label) = self.label {
            let grid = measure(local, label.measure)?.quantiser;
            let grid = grid.ok_or(InvalidTraining::Measure)?;
            if label.classes > 0 {
                let fits = grid.lo() == 0.0
                    && grid.width() == 1.0
                    && grid.max() + 1 == u64::from(label.classes);
                fits.then_some(()).ok_or(InvalidTraining::Measure)?;
            }
            require(
                label.classes != 1 && label.classes <= MAX_CLASSES,
                "a label has 2 to 64 classes",
            )?;
        }
        self.family.check(self.label)?;
        // From here on only sizes are computed, and nothing is laid out that a hostile session could make too large
        // (protocol.md §12).
        let design = Design::of(self, local);
        require(
            design.columns() <= MAX_COLUMNS,
            "a model has at most 32768 columns",
        )?;
        self.family.algorithm().check_columns(design.columns())?;
        if self.schedule().len() != usize::from(rounds) {
            return Err(InvalidTraining::Rounds);
        }
        for task in self.kinds() {
            require(
                Layout::of(self, &design, task).coordinates() <= dispers_circuit::MAX_COORDINATES,
                "a home's vector has at most 65536 coordinates: take fewer features or a smaller model",
            )?;
        }
        Ok(())
    }
}

/// Returns a measure of the local query by its number.
///
/// # Errors
/// [`InvalidTraining::Measure`] if the query has no measure of this number.
fn measure(local: &LocalQuery, number: u16) -> Result<&Measure, InvalidTraining> {
    local
        .measures
        .get(usize::from(number))
        .ok_or(InvalidTraining::Measure)
}
