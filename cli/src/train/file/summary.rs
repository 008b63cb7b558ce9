//! Text that describes a model file to people.

use dispers_training::Kind;

use super::{Column, ModelFile, Named};

impl ModelFile {
    /// Describes the model in lines of text: coefficients or clusters, metrics, and privacy loss.
    pub(in crate::train) fn summary(&self) -> String {
        let mut text = String::new();
        let mut line = |one: String| {
            text += &one;
            text.push('\n');
        };
        let of = self
            .label
            .as_ref()
            .map_or(String::new(), |label| format!(" of {label}"));
        line(format!("{}{of}, {} homes", self.model, self.homes));
        if let Some(ended) = &self.ended {
            line(format!("ended early: {ended}"));
        }
        // A text has up to thousands of buckets, and a bucket's coefficient says little without its words.
        let coefficients = self.coefficients.iter().flatten();
        let (buckets, others): (Vec<&Named>, Vec<&Named>) =
            coefficients.partition(|one| one.name.starts_with("words("));
        for one in others {
            let error = one
                .standard_error
                .map_or(String::new(), |error| format!(" ± {error:.4}"));
            let scaled = one.standardised.map_or(String::new(), |scaled| {
                format!("  (standardised {scaled:+.3})")
            });
            line(format!(
                "  {:<28} {:+.5}{error}{scaled}",
                one.name, one.value
            ));
        }
        if !buckets.is_empty() {
            let buckets = buckets.len();
            line(format!(
                "  and {buckets} coefficients of words: --format json has them"
            ));
        }
        if self
            .model()
            .is_ok_and(|model| model.kind() == Kind::Cluster)
        {
            let count = self.columns.len().max(1);
            for (number, mean) in self.state.weights.chunks(count).enumerate() {
                let values = mean.iter().enumerate().map(|(place, value)| {
                    let Column { name, lo, hi } = &self.columns[place];
                    // Means of clusters are on the scale of inputs: back to 0 to 1, then to the feature's unit.
                    let unit = value * self.state.spreads[place] + self.state.means[place];
                    format!("{name} {:.2}", lo + (hi - lo) * unit)
                });
                line(format!(
                    "  cluster {number}: {}",
                    values.collect::<Vec<_>>().join(", ")
                ));
            }
        }
        let validated = self.history.iter().any(|round| round.task == "validate");
        if self.validation > 0.0 && !validated {
            line("not validated: too few of the homes that are held out answered".to_owned());
        }
        if let Some(homes) = self.metrics["homes"].as_u64() {
            line(format!("at {homes} homes that were held out:"));
            for name in [
                "accuracy",
                "log_loss",
                "auc",
                "rmse",
                "r_squared",
                "inertia",
            ] {
                if let Some(value) = self.metrics[name].as_f64() {
                    let error = self.metrics["standard_errors"][name].as_f64();
                    // Without noise, an area under the curve is uncertain too where scores are released in runs.
                    let resolution = self.metrics["auc_resolution"].as_f64();
                    let error = error.or(resolution.filter(|_| name == "auc"));
                    let error = error.map_or(String::new(), |error| format!(" ± {error:.4}"));
                    line(format!("  {name:<10} {value:.4}{error}"));
                }
            }
            let withheld = self.metrics["withheld"].as_array();
            let withheld: Vec<&str> = withheld
                .into_iter()
                .flatten()
                .filter_map(|n| n.as_str())
                .collect();
            if !withheld.is_empty() {
                line(format!(
                    "  {} withheld: they would reveal a number of homes below the minimum cohort",
                    withheld.join(", ")
                ));
            }
        }
        if let Some(epsilon) = self.privacy["epsilon"].as_f64() {
            let delta = &self.privacy["delta"];
            line(format!(
                "the session spent epsilon {epsilon}, delta {delta}"
            ));
        }
        text
    }
}
