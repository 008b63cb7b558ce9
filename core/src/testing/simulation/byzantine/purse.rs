//! The costs of a campaign's queries: for homes, by their owners' rules, and for populations, by the aggregators'
//! ledgers.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::{
    aggregation::Aggregation,
    consent::{Account, Answered, Asked, Effect, Question, Rule, Rules, decide},
    manifest::VerifiedManifest,
    testing::{HOUR, NOW},
};
use dispers_base::id::{MemberNumber, QueryId, Timestamp};
use dispers_privacy::{
    Expense, Mechanism, Population, Rho,
    ledger::{limit, reserve},
};
use dispers_trust::directory::Directory;

/// ε that an owner allows in a year.
const A_YEAR: f64 = 1.0;
/// Budget of a population, as a number of queries with the noise of
/// [`Noise::ORDINARY`](super::campaign::Noise::ORDINARY).
pub(super) const BUDGET: u64 = 2;

/// Home with its answers and its true losses.
#[derive(Default)]
struct Home {
    answered: Vec<(QueryId, Answered)>,
    /// True loss: ε of queries with pure ε, in millionths; ρ of the other queries; ρ of all queries.
    pure: u64,
    gaussian: u64,
    all: u64,
    /// Description of a query that read more than the question that the owner allowed for good.
    beyond: Option<String>,
}

/// All homes of a campaign.
pub(super) struct Homes {
    rules: Rules,
    /// True if owners allow the first question for good by a click, and nothing else.
    clicks: bool,
    clicked: Option<Asked>,
    homes: BTreeMap<usize, Home>,
}

impl Homes {
    pub(super) fn new(clicks: bool) -> Self {
        let rules = match clicks {
            true => Rules::default(),
            false => Rules {
                epsilon_per_year: Some(A_YEAR),
                rules: vec![Rule::everything()],
                ..Rules::default()
            },
        };
        Self {
            rules: rules.checked().expect("the rules are legal"),
            clicks,
            clicked: None,
            homes: BTreeMap::new(),
        }
    }

    /// Decides at a home whether it answers the query, as its stack does.
    pub(super) fn answers(
        &mut self,
        at: usize,
        manifest: &VerifiedManifest,
        directory: &Directory,
    ) -> bool {
        let asked = Asked::of(manifest);
        if self.clicks && self.clicked.is_none() {
            let rule = Rule::made_from(&asked, Effect::Allow);
            let rules = Rules {
                rules: vec![rule],
                ..Rules::default()
            };
            self.rules = rules.checked().expect("a rule from a question is legal");
            self.clicked = Some(asked.clone());
        }
        let home = self.homes.entry(at).or_default();
        let query = manifest.query();
        let mut before = home.answered.iter().filter(|(of, _)| *of == query);
        if let Some((_, answered)) = before.next() {
            return answered.outcome.answers();
        }
        let question = Question {
            asked: &asked,
            cost: manifest.loss(),
            max_delta: directory.floors.max_delta,
            announced: false,
            exact_queries: 10,
        };
        let account = || {
            let mut account = Account::default();
            for (_, answered) in &home.answered {
                account.add(answered, NOW);
            }
            Ok::<_, Infallible>(account)
        };
        let Ok(decision) = decide(&question, None, true, &self.rules, account);
        let outcome = decision.outcome();
        let crate::consent::Decision::New { verdict, cost } = decision else {
            return outcome.answers();
        };
        home.answered.push((
            query,
            Answered {
                outcome,
                rule: verdict.rule,
                cost,
                at: NOW,
                exact: asked.exact_cost(),
            },
        ));
        if outcome.answers() {
            home.lose(manifest);
            let allowed = self.clicked.as_ref();
            let within = |field: &String| allowed.is_none_or(|one| one.fields.contains(field));
            if !asked.fields.iter().all(within) {
                home.beyond = Some(format!("home {at} reads {:?}", asked.fields));
            }
        }
        outcome.answers()
    }

    /// Requires that no home loses more than its owner allows, and that none reads a field that its owner did not
    /// allow.
    pub(super) fn check(&self, directory: &Directory) -> Result<(), String> {
        for (at, home) in &self.homes {
            if let Some(beyond) = &home.beyond {
                return Err(beyond.clone());
            }
            let delta = directory.floors.max_delta;
            let pure = home.pure as f64 / 1e6;
            let added = pure + Rho(home.gaussian).epsilon(delta);
            let lost = added.min(Rho(home.all).epsilon(delta));
            if !self.clicks && lost > A_YEAR + 1e-3 {
                return Err(format!("home {at} lost {lost} of {A_YEAR}"));
            }
        }
        Ok(())
    }
}

impl Home {
    fn lose(&mut self, manifest: &VerifiedManifest) {
        let (Some(privacy), Some(cost)) = (manifest.privacy.as_ref(), manifest.cost()) else {
            return;
        };
        self.all = self.all.saturating_add(cost.0);
        match privacy.mechanism {
            Mechanism::Laplace => self.pure += privacy.epsilon,
            Mechanism::Gaussian { .. } => self.gaussian = self.gaussian.saturating_add(cost.0),
        }
    }
}

/// Ledgers of the aggregators, and the costs that were truly released.
#[derive(Default)]
pub(super) struct Ledgers {
    budget: Rho,
    held: BTreeMap<MemberNumber, Vec<Expense>>,
    released: BTreeMap<Population, u64>,
}

impl Ledgers {
    pub(super) fn new(budget: Rho) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// Reserves the cost of a query that an aggregator begins. `place` is the place of the query in the campaign: ten
    /// hours lie between two queries.
    pub(super) fn reserve(
        &mut self,
        member: MemberNumber,
        aggregation: &Aggregation,
        directory: &Directory,
        place: usize,
    ) -> Result<(), String> {
        let expenses: Vec<Expense> = aggregation.expenses().collect();
        let floor = directory.floors.min_verified;
        let most = limit(self.budget, floor, directory.committees[0].threshold());
        let held = self.held.entry(member).or_default();
        // A query that begins again reserves nothing more.
        let query = aggregation.manifest().query();
        if held.iter().any(|expense| expense.query == query) {
            return Ok(());
        }
        let now: Timestamp = NOW.plus(10 * HOUR * place as u64);
        reserve(held, &expenses, most, now).map_err(|error| error.to_string())?;
        held.extend(expenses);
        Ok(())
    }

    /// Records the charges that an aggregator writes with its steps. A process that dies right after a step writes
    /// nothing more.
    pub(super) fn charge(&mut self, member: MemberNumber, aggregation: &Aggregation) {
        let charges = aggregation.charges();
        for held in self.held.entry(member).or_default() {
            held.released |= charges
                .iter()
                .any(|charge| (charge.query, charge.population) == (held.query, held.population));
        }
    }

    /// Records that a query's sums were opened to its querier. `expenses` may come from any aggregator that took part.
    pub(super) fn released(&mut self, expenses: &[Expense]) -> Result<(), String> {
        for expense in expenses {
            let released = self.released.entry(expense.population).or_default();
            *released = released.saturating_add(expense.rho.0);
            if *released > self.budget.0 {
                return Err(format!(
                    "{released} of a population is spent, of {}",
                    self.budget
                ));
            }
        }
        Ok(())
    }
}
