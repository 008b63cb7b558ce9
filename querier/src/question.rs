//! Questions: what a querier asks, and what is checked before any node is contacted.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_circuit::Circuit;
use dispers_core::manifest::{MAX_LIFETIME, ManifestError, check_privacy, check_sums};
use dispers_privacy::Privacy;
use dispers_sql::plan::{Plan, PlanLimits};

use crate::{Error, Querier};

/// Question that a querier asks.
///
/// It needs a decision about privacy: [`epsilon`](Self::epsilon), or another method that sets a bound, or
/// [`exact`](Self::exact). A question without one is refused before any node is contacted.
///
/// ```
/// use std::time::Duration;
/// use dispers_querier::Question;
///
/// let question = Question::new("SELECT AVG(clamp(sbp, 80, 230, 1)) AS mean FROM nhefs", "heart study")
///     .epsilon(1.0)
///     .min_cohort(50)
///     .ask_owners(Duration::from_secs(2 * 24 * 3600));
/// ```
#[derive(Debug, Clone)]
pub struct Question {
    pub(crate) sql: String,
    pub(crate) purpose: String,
    pub(crate) min_cohort: Option<u32>,
    pub(crate) bound: Bound,
    pub(crate) owners_ms: u64,
}

/// Decision about what the answer may reveal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Nobody decided yet. An exact answer must not be what a questioner gets for forgetting to decide.
    Undecided,
    /// The answer is exact.
    Exact,
    /// The answer is noisy.
    Loss(PrivacyLoss),
}

/// Bound on the information that the answer may give about one home.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct PrivacyLoss {
    /// ε of the whole query, or of all rounds of a session.
    pub epsilon: f64,
    /// δ. It allows Gaussian noise, which is smaller than that of pure ε for some queries.
    pub delta: Option<f64>,
}

impl Question {
    /// Creates a question from its SQL (`docs/sql.md`) and its purpose, which must be one of those that the directory
    /// registers for the querier.
    pub fn new(sql: impl Into<String>, purpose: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            purpose: purpose.into(),
            min_cohort: None,
            bound: Bound::Undecided,
            owners_ms: 0,
        }
    }

    /// Sets ε, the bound on what the whole answer tells about any one home: 1 is strict, 10 is loose.
    #[must_use]
    pub fn epsilon(self, epsilon: f64) -> Self {
        let delta = None;
        self.loss(Some(PrivacyLoss { epsilon, delta }))
    }

    /// Sets ε and δ. With a δ, such as 1e-6, some questions need less noise for the same ε.
    #[must_use]
    pub fn epsilon_delta(self, epsilon: f64, delta: f64) -> Self {
        let delta = Some(delta);
        self.loss(Some(PrivacyLoss { epsilon, delta }))
    }

    /// Asks for an exact answer, which the network and each home's owner may refuse.
    #[must_use]
    pub fn exact(self) -> Self {
        self.loss(None)
    }

    /// Sets the bound, as [`epsilon`](Self::epsilon) and [`epsilon_delta`](Self::epsilon_delta), or as
    /// [`exact`](Self::exact) for `None`.
    #[must_use]
    pub fn loss(mut self, loss: Option<PrivacyLoss>) -> Self {
        self.bound = loss.map_or(Bound::Exact, Bound::Loss);
        self
    }

    /// Sets the fewest people behind a released number. Without it, or for `None`, the network's floor holds.
    #[must_use]
    pub fn min_cohort(mut self, people: impl Into<Option<u32>>) -> Self {
        self.min_cohort = people.into();
        self
    }

    /// Gives owners who decide each time this long before homes answer.
    #[must_use]
    pub fn ask_owners(mut self, time: Duration) -> Self {
        self.owners_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self
    }
}

impl Querier {
    /// Plans `sql` against the directory's catalogue, without contacting another node.
    pub(crate) fn plan(&self, sql: &str) -> Result<Plan, Error> {
        let directory = self.directory();
        let limits = PlanLimits {
            max_homes: directory.floors.max_homes,
            ..PlanLimits::default()
        };
        Ok(Plan::new(sql, &directory.catalogue, &limits)?)
    }

    /// Checks a question as far as this is possible without contacting another node: its SQL, purpose, minimum cohort
    /// and noise.
    ///
    /// # Errors
    /// [`Error`] that says what to write instead.
    pub fn check(&self, question: &Question) -> Result<(), Error> {
        self.checked_plan(question).map(drop)
    }

    /// Plans and checks a question. Returns the plan and the noise.
    pub(crate) fn checked_plan(
        &self,
        question: &Question,
    ) -> Result<(Plan, Option<Privacy>), Error> {
        let plan = self.plan(&question.sql)?;
        let privacy = self.privacy(question, &plan)?;
        self.check_terms(
            privacy.as_ref(),
            &question.purpose,
            question.min_cohort,
            question.owners_ms,
        )?;
        Ok((plan, privacy))
    }

    /// Checks the terms of a question before any node is contacted, so that a question that would be refused reveals
    /// nothing.
    pub(crate) fn check_terms(
        &self,
        privacy: Option<&Privacy>,
        purpose: &str,
        min_cohort: Option<u32>,
        owners_ms: u64,
    ) -> Result<(), Error> {
        let directory = self.directory();
        let floors = &directory.floors;
        check_privacy(privacy, floors)?;
        let querier = directory.querier(&self.node.name);
        if !querier.is_some_and(|entry| {
            entry
                .purposes
                .iter()
                .any(|registered| registered == purpose)
        }) {
            return Err(ManifestError::Purpose(purpose.to_owned()).into());
        }
        if let Some(cohort) = min_cohort
            && cohort < floors.min_cohort
        {
            return Err(ManifestError::BelowFloor {
                what: "minimum cohort",
                got: cohort.into(),
                floor: floors.min_cohort.into(),
            }
            .into());
        }
        if self.config.lifetime_ms.saturating_add(owners_ms) > MAX_LIFETIME {
            return Err(Error::TooLong);
        }
        Ok(())
    }

    /// Returns the noise that keeps the question's ε and δ with the least error. Returns `None` for an exact question.
    fn privacy(&self, question: &Question, plan: &Plan) -> Result<Option<Privacy>, Error> {
        let PrivacyLoss { epsilon, delta } = match question.bound {
            Bound::Undecided => return Err(Error::NoBound),
            Bound::Exact => return Ok(None),
            Bound::Loss(loss) => loss,
        };
        let circuit = Circuit::compile(&plan.shape);
        let circuit = circuit.map_err(|e| ManifestError::Query(e.to_string()))?;
        let sensitivities = circuit.sensitivities();
        let directory = self.directory();
        let thresholds = directory.committees.iter().map(|key| key.threshold());
        // All committees share one choice of noise. The largest threshold is taken, as in `Manifest::needed`.
        let (needed, dealers) = thresholds
            .map(|threshold| (threshold.needed(), threshold.members()))
            .max()
            .ok_or(ManifestError::Committees)?;
        let privacy = Privacy::new(epsilon, delta, &sensitivities, needed, dealers);
        let privacy = privacy.map_err(ManifestError::Privacy)?;
        // The manifest is not written yet, so the network's largest number of homes stands for its own.
        let max_homes = directory.floors.max_homes;
        check_sums(Some(&privacy), &circuit, max_homes, [(needed, dealers)])?;
        Ok(Some(privacy))
    }
}
