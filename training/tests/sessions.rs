//! Training sessions, with vectors that are shared, proved and added up as aggregators do it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use dispers_base::{field, id::QueryId};
use dispers_circuit::{
    Circuit,
    contribution::{Contribution, share},
    testing::{aggregate, members},
};
use dispers_query::{
    catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind},
    local::LocalQuery,
};
use dispers_sql::plan::{TrainingPlan, TrainingRequest};
use dispers_training::{
    Cell, Design, Document, Family, Feature, InvalidTraining, Layout, SCORE_BINS, Task, Training,
    fit::{Early, Fit, FitError, Settings},
    home::{State, is_held_out, vector},
};

const HOMES: usize = 40;
const SETTINGS: Settings = Settings {
    rate: 0.1,
    momentum: 0.0,
    l2: 0.0,
    adaptive: false,
    seed: 1,
};

fn plan(family: Family, updates: u16) -> TrainingPlan {
    let field = |name: &str| Field {
        name: name.into(),
        kind: FieldKind::Real,
        unit: String::new(),
        range: Some((0.0, 1.0)),
        nullable: false,
    };
    let catalogue = Catalogue {
        doctypes: vec![Doctype {
            name: "points".into(),
            cardinality: Cardinality::One,
            fields: ["x", "y", "label"].map(field).into(),
        }],
        concepts: Default::default(),
    };
    let request = TrainingRequest {
        label: (!matches!(family, Family::KMeans { .. })).then(|| "label > 0.5".into()),
        positive: None,
        features: vec!["x".into(), "y".into()],
        from: "points".into(),
        condition: None,
        family,
        bits: 8,
        clip: None,
        held_out: 0,
        updates,
    };
    TrainingPlan::new(&request, &catalogue).unwrap()
}

/// Makes one point for each home. It has the second class if x is above y.
fn points() -> Vec<Vec<Document>> {
    let mut rng = StdRng::seed_from_u64(5);
    let mut unit = || f64::from(rng.next_u32()) / f64::from(u32::MAX);
    let point = |_| {
        let (x, y) = (unit(), unit());
        // In the order of the plan's measures: the label first.
        vec![[f64::from(u8::from(x > y)), x, y].map(Cell::Number).into()]
    };
    (0..HOMES).map(point).collect()
}

/// Treatment of contributions before they are added.
#[derive(Clone, Copy, PartialEq)]
enum Proofs {
    Checked,
    Absent,
}

/// Trains a model while the first home multiplies its updates by a hundred. Returns how many contributions are refused.
fn boosted(proofs: Proofs) -> (Fit, usize) {
    let plan = plan(Family::Logistic { newton: false }, 12);
    let settings = Settings {
        rate: 0.5,
        momentum: 0.9,
        l2: 0.0,
        adaptive: false,
        seed: 1,
    };
    let (training, local) = (&plan.training, &plan.local);
    let design = Design::of(training, local);
    let mut rng = StdRng::seed_from_u64(6);
    let mut fit = Fit::new(training, local, plan.names.clone(), settings);
    let mut rejected = 0;
    while let Some((round, state)) = fit.next() {
        let task = training.task(round).unwrap();
        let layout = Layout::of(training, &design, task);
        let circuit = Circuit::vector(&layout.shape()).unwrap();
        let contributions: Vec<Contribution> = points()
            .iter()
            .enumerate()
            .map(|(number, documents)| {
                let row = vector(training, local, task, &state, false, documents, &mut rng);
                let mut elements = circuit.as_vector().unwrap().encode(row.as_ref()).to_vec();
                if number == 0 && task == Task::Update {
                    for digit in &mut elements[1..] {
                        *digit = field::mul(*digit, 100);
                    }
                }
                Contribution::new(number as u32, vec![[0; 16]; 3], &elements)
            })
            .collect();
        let points = members(3);
        let groups = share(&circuit, &contributions, &points, 2, &mut rng).unwrap();
        let groups: Vec<Vec<u8>> = groups.iter().map(|group| group.encode().to_vec()).collect();
        let counts = match proofs {
            Proofs::Checked => None,
            Proofs::Absent => Some(vec![true; HOMES]),
        };
        let (verdicts, sums) = aggregate(&circuit, &groups, HOMES, 2, counts);
        let refused = verdicts.iter().filter(|counts| !**counts).count();
        if task == Task::Update {
            assert!(verdicts[1..].iter().all(|counts| *counts));
            rejected += refused;
        } else {
            assert_eq!(refused, 0);
        }
        let outputs: Vec<Option<i128>> = sums.iter().map(|sum| Some(field::signed(*sum))).collect();
        fit.take(&outputs, &[]).unwrap();
    }
    (fit, rejected)
}

fn accuracy(fit: &Fit) -> f64 {
    let documents: Vec<Document> = points().concat();
    let said = fit.model().predict(&documents);
    let right = said.iter().zip(&documents).filter(|(said, document)| {
        let Cell::Number(label) = document[0] else {
            return false;
        };
        said.as_ref().unwrap().class as f64 == label
    });
    right.count() as f64 / documents.len() as f64
}

#[test]
fn an_update_that_is_boosted_a_hundredfold_is_rejected_alone_and_the_model_unharmed() {
    let (fit, rejected) = boosted(Proofs::Checked);
    assert_eq!(rejected, 12);
    assert_eq!(fit.early, None);
    assert!(accuracy(&fit) > 0.9, "{}", accuracy(&fit));
    // Without proofs, one of the same homes ruins the model.
    let (ruined, rejected) = boosted(Proofs::Absent);
    assert_eq!(rejected, 0);
    assert!(accuracy(&ruined) < 0.7, "{}", accuracy(&ruined));
}

fn one(plan: &TrainingPlan, task: Task, state: &State, documents: &[Document]) -> Option<Vec<u64>> {
    let mut rng = StdRng::seed_from_u64(8);
    let (training, local) = (&plan.training, &plan.local);
    let row = vector(training, local, task, state, false, documents, &mut rng)?;
    row.sections[0].clone()
}

#[test]
fn what_is_no_number_or_missing_counts_nowhere() {
    let plan = plan(Family::Linear, 1);
    let good: Document = [1.0, 0.25, 0.5].map(Cell::Number).into();
    let with = |cell: Cell| {
        let mut document = good.clone();
        document[1] = cell;
        document
    };
    let task = Task::Update;
    let state = State::empty();
    let alone = one(&plan, task, &state, std::slice::from_ref(&good));
    assert!(alone.is_some());
    for cell in [
        Cell::Null,
        Cell::Text("NaN".into()),
        Cell::Number(f64::NAN),
        Cell::Number(f64::INFINITY),
    ] {
        assert_eq!(one(&plan, task, &state, &[with(cell.clone())]), None);
        // Beside a document that has all values, it changes nothing.
        assert_eq!(one(&plan, task, &state, &[with(cell), good.clone()]), alone);
    }
    // A document with fewer values than the query has measures does not count.
    assert_eq!(one(&plan, task, &state, &[good[..2].to_vec()]), None);
    assert_eq!(one(&plan, task, &state, &[]), None);
}

#[test]
fn a_home_with_many_documents_counts_as_much_as_one_with_a_single_one() {
    let plan = plan(Family::Logistic { newton: false }, 1);
    let document: Document = [1.0, 0.9, 0.1].map(Cell::Number).into();
    let state = State {
        means: vec![0.5; 2],
        spreads: vec![0.3; 2],
        weights: vec![0.0; 3],
    };
    let once = one(&plan, Task::Update, &state, std::slice::from_ref(&document));
    let often = one(&plan, Task::Update, &state, &vec![document; 50]);
    assert_eq!(once.unwrap(), often.unwrap());
}

#[test]
fn parameters_of_another_model_are_answered_by_nobody() {
    let plan = plan(Family::Logistic { newton: false }, 1);
    let document: Document = [1.0, 0.9, 0.1].map(Cell::Number).into();
    let documents = [document];
    let good = State {
        means: vec![0.5; 2],
        spreads: vec![0.3; 2],
        weights: vec![0.0; 3],
    };
    let of = |change: fn(&mut State)| {
        let mut state = good.clone();
        change(&mut state);
        one(&plan, Task::Update, &state, &documents)
    };
    assert!(of(|_| {}).is_some());
    let changes: [fn(&mut State); 7] = [
        |state| state.weights.push(0.0),
        |state| state.weights.truncate(2),
        |state| state.weights[0] = f64::NAN,
        |state| state.means.push(0.0),
        |state| state.spreads[0] = 0.0,
        |state| state.spreads[1] = f64::INFINITY,
        |state| state.means[0] = f64::NEG_INFINITY,
    ];
    for change in changes {
        assert!(of(change).is_none());
    }
}

#[test]
fn about_as_many_homes_are_held_out_as_asked_and_each_by_its_own_key() {
    let mut plan = plan(Family::Logistic { newton: false }, 1);
    plan.training.held_out = 200;
    let mut rng = StdRng::seed_from_u64(9);
    let keys: Vec<[u8; 32]> = (0..2000).map(|_| rng.random()).collect();
    let out = |query: u8| -> Vec<bool> {
        let query = QueryId([query; 32]);
        let of = |key| is_held_out(&plan.training, query, key);
        keys.iter().map(of).collect()
    };
    let (first, second) = (out(1), out(2));
    assert_eq!(first, out(1));
    let count = first.iter().filter(|out| **out).count();
    assert!((320..480).contains(&count), "{count}");
    // Another session holds other homes out.
    let both = first
        .iter()
        .zip(&second)
        .filter(|(a, b)| **a && **b)
        .count();
    assert!(both < 140, "{both}");
}

#[test]
fn rounding_is_right_on_average_and_by_less_than_a_level() {
    let plan = plan(Family::Linear, 1);
    let design = Design::of(&plan.training, &plan.local);
    let layout = Layout::of(&plan.training, &design, Task::Update);
    let circuit = Circuit::vector(&layout.shape()).unwrap();
    let document: Document = [1.0, 0.3, 0.7].map(Cell::Number).into();
    let mut rng = StdRng::seed_from_u64(10);
    let mut sums = vec![0; circuit.outputs().len()];
    const TIMES: usize = 4000;
    for _ in 0..TIMES {
        let (training, local) = (&plan.training, &plan.local);
        let documents = std::slice::from_ref(&document);
        let (task, state) = (Task::Update, State::empty());
        let row = vector(training, local, task, &state, false, documents, &mut rng);
        circuit.add_outputs(
            &circuit.as_vector().unwrap().encode(row.as_ref()),
            &mut sums,
        );
    }
    let outputs: Vec<_> = sums.iter().map(|sum| Some(field::signed(*sum))).collect();
    let means = layout.read(&outputs).unwrap().means().unwrap();
    let expected = [0.3, 0.7, 1.0, 0.09, 0.21, 0.3, 0.49, 0.7, 1.0];
    for (mean, expected) in means.iter().zip(expected) {
        assert!((mean - expected).abs() < 2e-4, "{mean} {expected}");
    }
}

#[test]
fn too_few_homes_in_a_later_round_end_the_session_with_the_model_so_far() {
    let plan = plan(Family::Svm, 5);
    let homes = points();
    let (training, local) = (&plan.training, &plan.local);
    let design = Design::of(training, local);
    let mut rng = StdRng::seed_from_u64(11);
    let mut fit = Fit::new(training, local, plan.names.clone(), SETTINGS);
    let mut weights = Vec::new();
    while let Some((round, state)) = fit.next() {
        let task = training.task(round).unwrap();
        let circuit = Layout::of(training, &design, task).shape();
        let circuit = Circuit::vector(&circuit).unwrap();
        let mut sums = vec![0; circuit.outputs().len()];
        for documents in &homes {
            let row = vector(training, local, task, &state, false, documents, &mut rng);
            circuit.add_outputs(
                &circuit.as_vector().unwrap().encode(row.as_ref()),
                &mut sums,
            );
        }
        let outputs = sums.iter().map(|sum| Some(field::signed(*sum)));
        let outputs: Vec<_> = match round {
            3 => outputs.map(|_| None).collect(),
            _ => outputs.collect(),
        };
        fit.take(&outputs, &[]).unwrap();
        if round == 2 {
            weights.clone_from(&fit.model().state.weights);
        }
    }
    assert_eq!(fit.early, Some(Early::TooFew));
    assert_eq!(fit.model().state.weights, weights);
    assert_eq!(fit.history.len(), 3);
    // In the first round there is no model yet.
    let mut fit = Fit::new(training, local, plan.names.clone(), SETTINGS);
    let task = training.task(0).unwrap();
    let circuit = Layout::of(training, &design, task).shape();
    let outputs = vec![None; Circuit::vector(&circuit).unwrap().outputs().len()];
    assert_eq!(fit.take(&outputs, &[]).err(), Some(FitError::TooFew));
}

/// Makes a plan over every kind of feature. Documents have a label, x, kind and text.
fn mixed(family: Family, label: Option<&str>, bits: u8) -> TrainingPlan {
    let field = |name: &str, kind, range| Field {
        name: name.into(),
        kind,
        unit: String::new(),
        range,
        nullable: true,
    };
    let catalogue = Catalogue {
        doctypes: vec![Doctype {
            name: "notes".into(),
            cardinality: Cardinality::Many,
            fields: vec![
                field("x", FieldKind::Real, Some((0.0, 1.0))),
                field("y", FieldKind::Real, Some((-2.0, 2.0))),
                field("kind", FieldKind::Text, None),
                field("text", FieldKind::Text, None),
            ],
        }],
        concepts: Default::default(),
    };
    let mut features = vec!["x".to_owned(), "domain(kind, 'a', 'b', 'c', 'd')".into()];
    if !matches!(family, Family::Logistic { newton: true } | Family::Linear) {
        features.push("words(text, 24)".into());
    }
    let request = TrainingRequest {
        label: label.map(str::to_owned),
        positive: None,
        features,
        from: "notes".into(),
        condition: None,
        family,
        bits,
        clip: None,
        held_out: 200,
        updates: 2,
    };
    TrainingPlan::new(&request, &catalogue).unwrap()
}

#[test]
fn no_honest_vector_is_longer_than_what_noise_covers() {
    let mut rng = StdRng::seed_from_u64(12);
    let logistic = |newton| Family::Logistic { newton };
    let mlp = Family::Mlp {
        hidden: vec![5],
        epochs: 2,
        rate: 0.5,
    };
    let kmeans = Family::KMeans {
        clusters: 3,
        candidates: 12,
    };
    let (number, two) = (Some("clamp(y, -2, 2)"), Some("y > 0"));
    let several = Some("domain(kind, 'a', 'b', 'c', 'd', 'e', 'f')");
    for (family, label, classes) in [
        (Family::Linear, number, 0),
        (logistic(true), two, 2),
        (logistic(false), two, 2),
        (logistic(false), several, 6),
        (Family::Svm, two, 2),
        (Family::Bayes, two, 2),
        (Family::Bayes, several, 6),
        (mlp.clone(), number, 0),
        (mlp, several, 6),
        (kmeans, None, 0),
    ] {
        let plan = mixed(family, label, 8);
        let (training, local) = (&plan.training, &plan.local);
        let design = Design::of(training, local);
        let columns = design.columns();
        let mut longest = 0.0f64;
        for task in training.kinds() {
            let layout = Layout::of(training, &design, task);
            let shape = layout.shape();
            assert_eq!(layout.coordinates(), shape.len());
            let circuit = Circuit::vector(&shape).unwrap();
            let bounds = circuit.sensitivities();
            for _ in 0..60 {
                let mut real = |most: f64| f64::from(rng.next_u32()) / f64::from(u32::MAX) * most;
                let extreme = real(1.0) < 0.3;
                let documents = 1 + real(6.0) as usize;
                let mut one = |_| -> Document {
                    let words = (0..real(40.0) as usize).map(|_| format!("w{}", real(60.0) as u32));
                    let words: Vec<String> = words.collect();
                    let x = if extreme {
                        real(2.0).floor()
                    } else {
                        real(1.0)
                    };
                    let mut cells = vec![Cell::Number(x), Cell::Number(real(4.0).floor())];
                    cells.push(Cell::Text(words.join(" ")));
                    match classes {
                        0 if label.is_none() => {}
                        0 => cells.insert(0, Cell::Number(real(4.0) - 2.0)),
                        _ => cells.insert(0, Cell::Number(real(f64::from(classes)).floor())),
                    }
                    cells
                };
                let documents: Vec<Document> = (0..documents).map(&mut one).collect();
                let state = match task {
                    Task::Scale => State::empty(),
                    _ => {
                        let fit = Fit::new(training, local, plan.names.clone(), SETTINGS);
                        let mut count = fit.model().state.weights.len();
                        if let Family::KMeans { clusters, .. } = training.family
                            && task != Task::Candidates
                        {
                            count = usize::from(clusters) * columns;
                        }
                        State {
                            means: vec![0.4; columns],
                            spreads: vec![0.2; columns],
                            weights: (0..count).map(|_| real(6.0) - 3.0).collect(),
                        }
                    }
                };
                let out = task == Task::Validate;
                let row = vector(training, local, task, &state, out, &documents, &mut rng);
                let mut sums = vec![0; circuit.outputs().len()];
                let input = circuit
                    .as_vector()
                    .unwrap()
                    .encode(Some(&row.expect("it has all values")));
                circuit.add_outputs(&input, &mut sums);
                let mut squares = [0.0; 2];
                for (moment, sum) in circuit.moments_of_outputs().into_iter().zip(sums) {
                    squares[moment] += (field::signed(sum) as f64).powi(2);
                }
                for (square, bound) in squares.iter().zip(&bounds) {
                    assert!(
                        square.sqrt() <= *bound as f64,
                        "{:?} {task:?}",
                        training.family
                    );
                }
                longest = longest.max(squares[1].sqrt() / bounds[1] as f64);
            }
        }
        // The bound is not much larger than the longest vector, so that there is not much more noise than needed.
        assert!(longest > 0.4, "{:?}: {longest}", training.family);
    }
}

#[test]
fn no_parameters_whatever_make_an_honest_vector_longer_than_what_noise_covers() {
    let mut rng = StdRng::seed_from_u64(13);
    let mlp = Family::Mlp {
        hidden: vec![3],
        epochs: 3,
        rate: 0.5,
    };
    let logistic = Family::Logistic { newton: false };
    const EXTREMES: [f64; 8] = [0.0, 1.0, -1.0, 1e-6, 1e150, -1e200, 1e300, f64::MAX];
    for family in [Family::Svm, logistic, mlp] {
        let plan = plan(family, 2);
        let (training, local) = (&plan.training, &plan.local);
        let design = Design::of(training, local);
        let shape = Layout::of(training, &design, Task::Update).shape();
        let circuit = Circuit::vector(&shape).unwrap();
        let count = Fit::new(training, local, plan.names.clone(), SETTINGS);
        let count = count.model().state.weights.len();
        let (mut refused, mut sent) = (0, 0);
        for _ in 0..400 {
            let mut extreme = |_| EXTREMES[rng.next_u32() as usize % EXTREMES.len()];
            let state = State {
                means: (0..2).map(&mut extreme).collect(),
                spreads: (0..2).map(|at| extreme(at).abs()).collect(),
                weights: (0..count).map(&mut extreme).collect(),
            };
            let documents: Vec<Document> = (0..2u32)
                .map(|class| [f64::from(class), 1.0, 0.25].map(Cell::Number).into())
                .collect();
            let task = Task::Update;
            let row = vector(training, local, task, &state, false, &documents, &mut rng);
            let Some(row) = row else {
                refused += 1;
                continue;
            };
            sent += 1;
            let mut sums = vec![0; circuit.outputs().len()];
            circuit.add_outputs(&circuit.as_vector().unwrap().encode(Some(&row)), &mut sums);
            let squares = sums[1..]
                .iter()
                .map(|sum| (field::signed(*sum) as f64).powi(2));
            let length = squares.sum::<f64>().sqrt();
            assert!(length <= shape.norm as f64, "{length} {state:?}");
        }
        // Spreads close to 0 are refused.
        assert!(refused > 50 && sent > 50, "{refused} {sent}");
    }
}

#[test]
fn a_model_that_no_memory_holds_is_refused_before_anything_is_laid_out() {
    let mut plan = mixed(Family::Bayes, Some("y > 0"), 8);
    plan.training.features[2] = Feature::Words {
        measure: 3,
        buckets: 1 << 14,
    };
    let rounds = |training: &Training| training.schedule().len() as u16;
    for family in [
        Family::Linear,
        Family::Logistic { newton: true },
        Family::Mlp {
            hidden: vec![1024, 1024],
            epochs: 1,
            rate: 0.1,
        },
    ] {
        let mut training = plan.training.clone();
        if family == Family::Linear {
            let label = training.label.as_mut().unwrap();
            label.classes = 0;
        }
        training.family = family;
        let refused = training.validate(&plan.local, rounds(&training));
        assert!(
            matches!(refused, Err(InvalidTraining::Bound(_))),
            "{refused:?}"
        );
    }
    assert!(
        plan.training
            .validate(&plan.local, rounds(&plan.training))
            .is_ok()
    );
}

#[test]
fn a_home_with_very_many_documents_is_looked_at_within_bounds() {
    let family = Family::Mlp {
        hidden: vec![64],
        epochs: 20,
        rate: 0.1,
    };
    let plan = plan(family, 1);
    let fit = Fit::new(&plan.training, &plan.local, plan.names.clone(), SETTINGS);
    let state = State {
        means: vec![0.5; 2],
        spreads: vec![0.3; 2],
        ..fit.model().state.clone()
    };
    let good: Document = [1.0, 0.9, 0.1].map(Cell::Number).into();
    let other: Document = [0.0, 0.1, 0.9].map(Cell::Number).into();
    // As many documents as are used, and then others, which change nothing.
    let most = (1 << 30) / (3 * 20 * (3 * 64 + 65 * 2));
    let mut documents = vec![good; most];
    let alone = one(&plan, Task::Update, &state, &documents);
    documents.extend(vec![other; 100]);
    assert_eq!(one(&plan, Task::Update, &state, &documents), alone);
}

/// Returns what a round of an exact session releases, for homes with these documents.
fn exactly(
    training: &Training,
    local: &LocalQuery,
    task: Task,
    state: &State,
    homes: &[Vec<Document>],
    cohort: i128,
) -> Vec<Option<i128>> {
    let mut rng = StdRng::seed_from_u64(12);
    let out = task == Task::Validate;
    let layout = Layout::of(training, &Design::of(training, local), task);
    let circuit = Circuit::vector(&layout.shape()).unwrap();
    let mut sums = vec![0; circuit.outputs().len()];
    for documents in homes {
        let row = vector(training, local, task, state, out, documents, &mut rng);
        circuit.add_outputs(
            &circuit.as_vector().unwrap().encode(row.as_ref()),
            &mut sums,
        );
    }
    let openings = circuit.openings(false);
    let opened: Vec<i128> = openings
        .iter()
        .map(|count| field::signed(count.evaluate(&sums)))
        .collect();
    let mask = circuit.opened_mask(false, cohort, &local.facts(), &opened);
    mask.apply(&sums)
        .into_iter()
        .map(|sum| sum.map(field::signed))
        .collect()
}

/// Runs a logistic session with held-out homes at these scores, `positive` with the label and `negative` without it.
fn rare(positive: &[f64], negative: &[f64], cohort: i128) -> (Fit, Vec<Vec<Option<i128>>>) {
    let mut plan = plan(Family::Logistic { newton: false }, 1);
    plan.training.held_out = 200;
    let (training, local) = (&plan.training, &plan.local);
    let home =
        |label: f64| move |x: &f64| vec![[label, *x, (x * 7.0).fract()].map(Cell::Number).into()];
    let homes: Vec<Vec<Document>> = positive
        .iter()
        .map(home(1.0))
        .chain(negative.iter().map(home(0.0)))
        .collect();
    let mut fit = Fit::new(training, local, plan.names.clone(), SETTINGS);
    let mut rounds = Vec::new();
    while let Some((round, mut state)) = fit.next() {
        let task = training.task(round).unwrap();
        if task == Task::Validate {
            // This model scores by x alone.
            state.weights = vec![0.0, 3.0, 0.0];
        }
        rounds.push(exactly(training, local, task, &state, &homes, cohort));
        fit.take(rounds.last().unwrap(), &[]).unwrap();
    }
    (fit, rounds)
}

#[test]
fn cells_of_a_few_held_out_homes_are_in_no_number_of_an_exact_session() {
    const COHORT: i128 = 20;
    // Fewer than the cohort are wrong.
    let negative: Vec<f64> = (0..120)
        .map(|place| if place < 10 { 0.9 } else { 0.1 })
        .collect();
    let (fit, rounds) = rare(&[0.9], &negative, COHORT);
    // This holds both when columns are scaled and when the model is validated.
    for counts in [&rounds[0][5..], &rounds[2][2..]] {
        assert!(
            counts.iter().flatten().all(|count| *count >= COHORT),
            "{counts:?}"
        );
    }
    // The number of homes would reveal the withheld count.
    assert_eq!(rounds[2][0], Some(120));
    let released: i128 = rounds[2][2..2 + 2 * SCORE_BINS].iter().flatten().sum();
    assert_eq!(released, 120);
    let metrics = fit.metrics.unwrap();
    assert_eq!(metrics.withheld, ["confusion", "accuracy", "auc"]);
    assert_eq!((metrics.auc, metrics.accuracy), (None, None));
    assert!(metrics.log_loss.is_some());
}

#[test]
fn what_enough_held_out_homes_say_is_computed_from_cells_of_the_cohort() {
    const COHORT: i128 = 20;
    let positive: Vec<f64> = (0..150)
        .map(|place| f64::from(place + 60) / 210.0)
        .collect();
    let negative: Vec<f64> = (0..150).map(|place| f64::from(place) / 210.0).collect();
    let (fit, rounds) = rare(&positive, &negative, COHORT);
    let counts = &rounds[2][2..];
    assert!(counts.iter().flatten().all(|count| *count >= COHORT));
    let scores = counts[..2 * SCORE_BINS].iter().flatten();
    assert_eq!((scores.sum::<i128>(), rounds[2][0]), (300, Some(300)));
    let metrics = fit.metrics.unwrap();
    assert!(metrics.withheld.is_empty(), "{metrics:?}");
    let confusion = metrics.confusion.unwrap();
    let share = confusion
        .iter()
        .flatten()
        .map(|cell| cell.unwrap())
        .sum::<f64>();
    assert!((share - 1.0).abs() < 1e-9);
    assert!(
        (metrics.accuracy.unwrap() - confusion[0][0].unwrap() - confusion[1][1].unwrap()).abs()
            < 1e-9
    );
    // The probability that one of 60..210 is above one of 0..150, with half of the ties: 1 − (90·91/2)/150² and that
    // half.
    let (auc, off) = (metrics.auc.unwrap(), metrics.auc_resolution.unwrap());
    assert!((auc - 0.82).abs() < off && off < 0.15, "{auc} {off}");
}

#[test]
fn an_accuracy_is_told_where_enough_are_wrong_though_a_cell_has_too_few() {
    const COHORT: i128 = 20;
    // The model is wrong about 15 of each class.
    let positive: Vec<f64> = (0..100)
        .map(|place| if place < 15 { 0.2 } else { 0.8 })
        .collect();
    let negative: Vec<f64> = (0..100)
        .map(|place| if place < 15 { 0.8 } else { 0.2 })
        .collect();
    let (fit, _) = rare(&positive, &negative, COHORT);
    let metrics = fit.metrics.unwrap();
    assert_eq!(metrics.withheld, ["confusion", "auc"]);
    assert!((metrics.accuracy.unwrap() - 0.85).abs() < 1e-9);
    // With 5 wrong of each class the accuracy is withheld.
    let (fit, _) = rare(&positive[10..], &negative[10..], COHORT);
    assert_eq!(
        fit.metrics.unwrap().withheld,
        ["confusion", "accuracy", "auc"]
    );
    // The one home with the label follows from no score beside the accuracy.
    let negative: Vec<f64> = (0..120).map(|place| f64::from(place) / 120.0).collect();
    let (fit, rounds) = rare(&[0.9], &negative, COHORT);
    let metrics = fit.metrics.unwrap();
    assert_eq!(metrics.withheld, ["confusion", "auc"]);
    assert!((metrics.accuracy.unwrap() - 0.5).abs() < 0.05);
    assert!(rounds[2][2..2 + 2 * SCORE_BINS].iter().all(Option::is_none));
}

/// Released number of an exact validating round, with the cells (class, bin of its score) of the homes that it counts.
type Released = (i128, [bool; 2 * SCORE_BINS]);

/// Returns the released numbers from which another could follow: the rows, the right and wrong predictions, and the
/// runs of scores, of which those on one side of the middle are added up.
fn released_beside_scores(counts: &[Option<i128>]) -> Vec<Released> {
    const HALF: usize = SCORE_BINS / 2;
    let is_right = |cell: usize| (cell % SCORE_BINS >= HALF) == (cell >= SCORE_BINS);
    let cells = |of: &dyn Fn(usize) -> bool| std::array::from_fn(of);
    let (rows, scores) = (counts[0], &counts[2..2 + 2 * SCORE_BINS]);
    let (right, wrong) = (counts[2 + 2 * SCORE_BINS], counts[3 + 2 * SCORE_BINS]);
    let whole = [
        (rows, cells(&|_| true)),
        (right, cells(&is_right)),
        (wrong, cells(&|cell| !is_right(cell))),
    ];
    let mut released: Vec<Released> = whole
        .into_iter()
        .filter_map(|(count, cells)| Some((count?, cells)))
        .collect();
    for half in 0..4 {
        released.push((0, [false; 2 * SCORE_BINS]));
        let mut cell = half * HALF;
        while cell < (half + 1) * HALF {
            let class_end = (cell / SCORE_BINS + 1) * SCORE_BINS;
            let starts = |next: &usize| scores[*next].is_some();
            let end = (cell + 1..class_end).find(starts).unwrap_or(class_end);
            if let Some(count) = scores[cell] {
                if end > (half + 1) * HALF {
                    // The run contains the middle.
                    released.push((0, [false; 2 * SCORE_BINS]));
                }
                let (sum, cells) = released.last_mut().unwrap();
                *sum += count;
                cells[cell..end].fill(true);
            }
            cell = end;
        }
    }
    released.retain(|(_, cells)| cells.iter().any(|cell| *cell));
    released
}

#[test]
fn no_count_of_few_held_out_homes_follows_from_accuracy_and_scores() {
    const COHORT: i128 = 20;
    let (mut told, mut beside, mut replaced) = (0, 0, 0);
    for seed in 0..60 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let (low, high) = (rng.random_range(0.1..0.6), rng.random_range(0.4..0.95));
        let homes = [rng.random_range(5..200), rng.random_range(20..300)];
        let mut scores = |around: f64, homes: usize| -> Vec<f64> {
            (0..homes)
                .map(|_| (around + rng.random_range(-0.4..0.4_f64)).clamp(0.01, 0.99))
                .collect()
        };
        let (positive, negative) = (scores(high, homes[0]), scores(low, homes[1]));
        let (_, rounds) = rare(&positive, &negative, COHORT);
        let counts = &rounds[2];
        let released = released_beside_scores(counts);
        let scores = &counts[2..2 + 2 * SCORE_BINS];
        let sides = &counts[2 + 2 * SCORE_BINS..];
        let is_told = sides[0].is_some();
        told += u32::from(is_told);
        beside += u32::from(is_told && scores.iter().any(Option::is_some));
        // Rows that would reveal few homes are replaced by the homes of what is released.
        let all = homes.iter().sum::<usize>() as i128;
        let of_scores = scores.iter().flatten().sum::<i128>();
        let of_sides = sides.iter().flatten().sum::<i128>();
        let rows = counts[0].unwrap();
        assert!(rows == all || rows == of_scores.max(of_sides), "{counts:?}");
        replaced += u32::from(rows != all);
        for combination in 0..3usize.pow(released.len() as u32) {
            let mut rest = combination;
            let factors: Vec<i128> = released
                .iter()
                .map(|_| {
                    let factor = (rest % 3) as i128 - 1;
                    rest /= 3;
                    factor
                })
                .collect();
            let terms = || released.iter().zip(&factors);
            let counted = (0..2 * SCORE_BINS).map(|cell| {
                terms()
                    .map(|((_, cells), f)| f * i128::from(cells[cell]))
                    .sum::<i128>()
            });
            if counted.clone().all(|factor| factor == 0 || factor == 1) {
                let count: i128 = terms().map(|((count, _), factor)| count * factor).sum();
                // Rows that are replaced by the homes of released sections are no count of their own.
                let is_replaced = factors[0] != 0 && rows != all;
                assert!(
                    is_replaced || count <= 0 || count >= COHORT,
                    "seed {seed}: {count} follow by {factors:?} from {counts:?}"
                );
            }
        }
    }
    assert!(
        told >= 20 && beside >= 3 && replaced >= 1,
        "{told} {beside} {replaced}"
    );
}
