//! Tests of each trained model, compared with the one that a single computer fits to the same documents (protocol.md
//! §18).

use dispers_sql::plan::TrainingRequest;
use dispers_training::{
    Family,
    fit::{Early, FitError, Settings},
};

use super::{
    FEATURES,
    central::{Read, Sheet, plain_number},
    homes::{Homes, accuracy, said, train, train_with},
    question,
};

pub(crate) const COLUMNS: [Read; 4] = [
    ("age", plain_number),
    ("sex", |cell| f64::from(u8::from(cell == "female"))),
    ("sbp", plain_number),
    ("cigarettes", plain_number),
];

fn request(family: Family, label: Option<&str>, updates: u16) -> TrainingRequest {
    TrainingRequest {
        updates,
        bits: 8,
        ..question(family, label, &FEATURES).request
    }
}

fn settings(rate: f64) -> Settings {
    Settings {
        rate,
        momentum: 0.9,
        l2: 0.0,
        adaptive: false,
        seed: 1,
    }
}

/// Returns the standardised coefficients, without the constant.
pub(crate) fn standardised(fit: &dispers_training::fit::Fit) -> Vec<f64> {
    let all = fit.coefficients().unwrap();
    all.iter().filter_map(|one| one.standardised).collect()
}

#[test]
fn gradient_descent_ends_within_a_hundredth_of_one_computer_s_fit() {
    let homes = Homes::of_sample();
    for label in ["death", "quit"] {
        let plan = homes.plan(&request(
            Family::Logistic { newton: false },
            Some(label),
            80,
        ));
        let fit = train(&plan, &homes.measured(&plan), &settings(0.5));
        let sheet = Sheet::of(&homes.documents, &COLUMNS, label);
        let central = sheet.standardised().logistic();
        for (ours, theirs) in standardised(&fit).iter().zip(&central[1..]) {
            assert!((ours - theirs).abs() < 1e-2, "{ours} {theirs}");
        }
    }
}

#[test]
fn newton_s_steps_end_within_a_thousandth() {
    let homes = Homes::of_sample();
    let mut request = request(Family::Logistic { newton: true }, Some("death"), 12);
    request.bits = 16;
    let plan = homes.plan(&request);
    let fit = train(&plan, &homes.measured(&plan), &settings(1.0));
    let sheet = Sheet::of(&homes.documents, &COLUMNS, "death");
    let central = sheet.standardised().logistic();
    for (ours, theirs) in standardised(&fit).iter().zip(&central[1..]) {
        assert!((ours - theirs).abs() < 1e-3, "{ours} {theirs}");
    }
}

#[test]
fn linear_regression_and_its_standard_errors_are_those_of_one_computer() {
    let homes = Homes::of_sample();
    let mut request = request(Family::Linear, Some("clamp(weight82_kg, 30, 150)"), 1);
    request.bits = 16;
    let plan = homes.plan(&request);
    let fit = train(&plan, &homes.measured(&plan), &settings(1.0));
    let sheet = Sheet::of(&homes.documents, &COLUMNS, "weight82_kg");
    let (central, errors) = sheet.linear();
    let ours = fit.coefficients().unwrap();
    assert_eq!(ours.len(), central.len());
    for (at, ours) in ours.iter().enumerate() {
        let spread = at.checked_sub(1).map_or(1.0, |column| sheet.spread(column));
        let apart = (ours.value - central[at]).abs() * spread;
        assert!(apart < 5e-2, "{at}: {ours:?} {}", central[at]);
        let error = ours.error.unwrap();
        assert!(
            (error / errors[at] - 1.0).abs() < 1e-2,
            "{error} {errors:?}"
        );
    }
}

#[test]
fn a_support_vector_machine_is_as_good_as_one_computer_s() {
    let homes = Homes::of_sample();
    let plan = homes.plan(&request(Family::Svm, Some("death"), 60));
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(0.1));
    let sheet = Sheet::of(&homes.documents, &COLUMNS, "death").standardised();
    let central = sheet.svm();
    let ours = accuracy(&said(fit.model(), &measured));
    assert!(ours > sheet.accuracy(&central) - 0.02, "{ours}");
    assert!(ours > 0.82);
    for (ours, theirs) in standardised(&fit).iter().zip(&central[1..]) {
        assert!((ours - theirs).abs() < 2e-2, "{ours} {theirs}");
    }
}

#[test]
fn naive_bayes_is_as_good_as_one_computer_s() {
    let homes = Homes::of_sample();
    let mut request = request(Family::Bayes, Some("death"), 1);
    request.features.remove(1);
    let columns = [COLUMNS[0], COLUMNS[2], COLUMNS[3]];
    let plan = homes.plan(&request);
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(1.0));
    let central = Sheet::of(&homes.documents, &columns, "death").bayes();
    let ours = accuracy(&said(fit.model(), &measured));
    assert!((ours - central).abs() < 0.02, "{ours} {central}");
    assert!(ours > 0.8);
}

#[test]
fn clusters_are_as_tight_as_one_computer_s() {
    let homes = Homes::of_sample();
    let family = Family::KMeans {
        clusters: 3,
        candidates: 40,
    };
    let plan = homes.plan(&request(family, None, 12));
    let fit = train(&plan, &homes.measured(&plan), &settings(1.0));
    let ours = fit.history.last().unwrap().loss.unwrap();
    let sheet = Sheet::of(&homes.documents, &COLUMNS, "id").standardised();
    let central = sheet.clusters(3);
    assert!(ours < 1.02 * central, "{ours} {central}");
}

#[test]
fn a_perceptron_is_as_good_as_one_computer_s() {
    let homes = Homes::of_sample();
    let family = Family::Mlp {
        hidden: vec![8],
        epochs: 3,
        rate: 0.1,
    };
    let plan = homes.plan(&request(family, Some("death"), 60));
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(0.02));
    let ours = accuracy(&said(fit.model(), &measured));
    let sheet = Sheet::of(&homes.documents, &COLUMNS, "death").standardised();
    let central = sheet.perceptron(8);
    assert!(ours > central - 0.02, "{ours} {central}");
    assert!(ours > 0.82);
}

#[test]
fn several_classes_are_told_apart() {
    let homes = Homes::of_sample();
    let mut request = request(
        Family::Logistic { newton: false },
        Some("domain(exercise, 'much', 'moderate', 'little')"),
        40,
    );
    request
        .features
        .push("domain(active, 'very', 'moderate', 'inactive')".into());
    let plan = homes.plan(&request);
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(0.5));
    assert!(fit.coefficients().is_none());
    let ours = said(fit.model(), &measured);
    // The model is better than always saying the most frequent class.
    let most = |class| ours.iter().filter(|one| one.1 == f64::from(class)).count();
    let most = (0..3).map(most).max().unwrap() as f64 / ours.len() as f64;
    assert!(accuracy(&ours) > most + 0.01, "{} {most}", accuracy(&ours));
    let said: std::collections::BTreeSet<u8> = ours.iter().map(|one| one.0 as u8).collect();
    assert!(said.len() > 1);
}

#[test]
fn a_step_that_is_too_long_ends_with_the_best_model_so_far() {
    let homes = Homes::of_sample();
    let plan = homes.plan(&request(Family::Svm, Some("death"), 60));
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(50.0));
    assert!(matches!(fit.early, Some(Early::Diverged | Early::Unsteady)));
    let weights = &fit.model().state.weights;
    assert!(weights.iter().all(|weight| weight.is_finite()));
    let least = fit.history.iter().filter_map(|round| round.loss);
    let least = least.fold(f64::INFINITY, f64::min);
    let loss = |round: &dispers_training::fit::Round| round.loss;
    assert!(fit.history.iter().filter_map(loss).next_back().unwrap() > least);
}

/// Returns the error of training on these features.
fn refusal(family: Family, label: &str, features: &[&str]) -> FitError {
    let homes = Homes::of_sample();
    let mut request = request(family, Some(label), 10);
    request.features = features.iter().map(|&feature| feature.to_owned()).collect();
    let plan = homes.plan(&request);
    let fit = train_with(&plan, &homes.measured(&plan), &settings(0.5), |_, _, _| {});
    fit.err().unwrap()
}

#[test]
fn what_never_varies_is_named() {
    let flat = "clamp(age, 90, 120)";
    let logistic = |newton| Family::Logistic { newton };
    for family in [logistic(false), logistic(true), Family::Linear, Family::Svm] {
        let refusal = refusal(family, "death", &["sbp", flat]);
        assert_eq!(refusal, FitError::Degenerate("age".into()));
    }
    // A feature that follows from another one cannot be separated from it.
    for family in [logistic(true), Family::Linear] {
        let refusal = refusal(family, "death", &["sbp", "clamp(sbp, 80, 230)"]);
        assert_eq!(refusal, FitError::Degenerate("sbp".into()));
    }
}

#[test]
fn a_label_that_is_the_same_everywhere_is_named() {
    let logistic = |newton| Family::Logistic { newton };
    for family in [
        logistic(false),
        logistic(true),
        Family::Linear,
        Family::Svm,
        Family::Bayes,
        Family::Mlp {
            hidden: vec![4],
            epochs: 1,
            rate: 0.1,
        },
    ] {
        let said = refusal(family.clone(), "age > 5", &["sbp", "cigarettes"]);
        assert_eq!(said, FitError::ConstantLabel, "{family:?}");
    }
}

#[test]
fn what_is_held_out_says_how_good_the_model_is() {
    let homes = Homes::of_sample();
    let mut request = request(Family::Logistic { newton: false }, Some("death"), 40);
    request.held_out = 200;
    let plan = homes.plan(&request);
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(0.5));
    let held_out: Vec<_> = measured.iter().step_by(5).cloned().collect();
    let said = said(fit.model(), &held_out);
    let metrics = fit.metrics.unwrap();
    assert_eq!(metrics.homes, said.len() as u64);
    assert!((metrics.accuracy.unwrap() - accuracy(&said)).abs() < 1e-2);
    let confusion = metrics.confusion.unwrap();
    for (class, row) in confusion.iter().enumerate() {
        for (taken, share) in row.iter().enumerate() {
            let count = said
                .iter()
                .filter(|one| **one == (taken as f64, class as f64))
                .count();
            // Both cells of a class are withheld if one of them has too few homes, and the result says so.
            match share {
                Some(share) => {
                    assert!((share - count as f64 / said.len() as f64).abs() < 1e-2);
                }
                None => assert!(metrics.withheld.contains(&"confusion")),
            }
        }
    }
    // The area is computed from runs of scores, and withheld if the runs are too long.
    match metrics.auc {
        Some(auc) => assert!((0.7..0.95).contains(&auc), "{auc}"),
        None => assert!(metrics.withheld.contains(&"auc")),
    }
    assert!(metrics.log_loss.unwrap() < 0.45);
}

#[test]
fn a_label_that_is_told_apart_entirely_ends_newton_s_steps_with_the_model_before() {
    let homes = Homes::of_sample();
    let mut request = request(Family::Logistic { newton: true }, Some("age >= 60"), 30);
    request.features = vec!["age".into(), "sbp".into()];
    request.bits = 16;
    let plan = homes.plan(&request);
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(1.0));
    assert_eq!(fit.early, Some(Early::Flat));
    let ours = accuracy(&said(fit.model(), &measured));
    assert!(ours > 0.98, "{ours}");
}

#[test]
fn steps_that_are_too_long_become_shorter_or_end_with_the_best_model_known() {
    let homes = Homes::of_sample();
    let plan = homes.plan(&request(
        Family::Logistic { newton: false },
        Some("death"),
        40,
    ));
    let measured = homes.measured(&plan);
    let good = train(&plan, &measured, &settings(0.5));
    let good = accuracy(&said(good.model(), &measured));
    for rate in [4.0, 8.0, 12.0, 20.0] {
        let fit = train(&plan, &measured, &settings(rate));
        let ours = accuracy(&said(fit.model(), &measured));
        assert!(ours > good - 0.02, "{rate}: {ours} {:?}", fit.early);
    }
}

#[test]
fn adaptive_steps_end_near_one_computer_s_fit_too() {
    let homes = Homes::of_sample();
    let plan = homes.plan(&request(
        Family::Logistic { newton: false },
        Some("death"),
        120,
    ));
    let adaptive = Settings {
        adaptive: true,
        ..settings(0.05)
    };
    let fit = train(&plan, &homes.measured(&plan), &adaptive);
    let sheet = Sheet::of(&homes.documents, &COLUMNS, "death");
    let central = sheet.standardised().logistic();
    for (ours, theirs) in standardised(&fit).iter().zip(&central[1..]) {
        assert!((ours - theirs).abs() < 5e-2, "{ours} {theirs}");
    }
}

#[test]
fn a_class_that_fewer_than_the_cohort_have_is_never_said() {
    let homes = Homes::of_sample();
    // Only six people are 74 or older.
    let label = "domain(CASE WHEN age >= 74 THEN 'old' WHEN age < 50 THEN 'young' ELSE 'middle' END, \
                 'old', 'young', 'middle')";
    let mut request = request(Family::Bayes, Some(label), 1);
    request.features = vec!["clamp(age, 0, 200)".into(), "sbp".into()];
    let plan = homes.plan(&request);
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(1.0));
    let ours = said(fit.model(), &measured);
    assert!(ours.iter().any(|one| one.1 == 0.0));
    assert!(ours.iter().all(|one| one.0 != 0.0));
    assert!(accuracy(&ours) > 0.9, "{}", accuracy(&ours));
}

#[test]
fn naive_bayes_counts_categories_as_one_computer_does() {
    let homes = Homes::of_sample();
    let mut request = request(Family::Bayes, Some("quit"), 1);
    let (exercise, active) = (
        ["much", "moderate", "little"],
        ["very", "moderate", "inactive"],
    );
    request.features = vec![
        "domain(exercise, 'much', 'moderate', 'little')".into(),
        "domain(active, 'very', 'moderate', 'inactive')".into(),
    ];
    request.bits = 16;
    let plan = homes.plan(&request);
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(1.0));
    // The weights of a class are the logarithm of its share, then those of the values' shares within it.
    let documents: Vec<_> = homes.documents.iter().flatten().collect();
    let weights = &fit.model().state.weights;
    for class in 0..2 {
        let of: Vec<_> = documents
            .iter()
            .filter(|document| document["quit"] == class.to_string())
            .collect();
        let place = class * 7;
        let share = of.len() as f64 / documents.len() as f64;
        assert!((weights[place] - share.ln()).abs() < 1e-2);
        let values = exercise.iter().map(|value| ("exercise", *value));
        let values = values.chain(active.iter().map(|value| ("active", *value)));
        for (at, (column, value)) in values.enumerate() {
            let count = of
                .iter()
                .filter(|document| document[column] == value)
                .count();
            let share = count as f64 / of.len() as f64;
            let ours = weights[place + 1 + at];
            assert!((ours - share.ln()).abs() < 2e-2, "{column} {value}: {ours}");
        }
    }
}

#[test]
fn few_homes_have_clusters_too() {
    let mut homes = Homes::of_sample();
    homes.documents.truncate(60);
    let family = Family::KMeans {
        clusters: 3,
        candidates: 16,
    };
    let plan = homes.plan(&request(family, None, 12));
    let fit = train(&plan, &homes.measured(&plan), &settings(1.0));
    let loss = |round: usize| fit.history[round].loss.unwrap();
    assert!(loss(13) < loss(2), "{} {}", loss(2), loss(13));
}

#[test]
fn a_text_label_with_its_positive_value_is_learnt() {
    let homes = Homes::of_sample();
    let mut request = request(Family::Logistic { newton: false }, Some("sex"), 40);
    request.positive = Some("female".into());
    request.features = vec!["clamp(height_cm, 140, 200)".into(), "age".into()];
    let plan = homes.plan(&request);
    let measured = homes.measured(&plan);
    let fit = train(&plan, &measured, &settings(1.0));
    let ours = accuracy(&said(fit.model(), &measured));
    assert!(ours > 0.82, "{ours}");
    // Taller people are less often female.
    assert!(standardised(&fit)[0] < -1.0);
}

#[test]
fn operations_of_homes_are_sorted_as_one_computer_sorts_them() {
    use dispers_example_bank::{CATEGORIES, central, files, generate};

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).join("io.cozy.bank.operations.csv");
    let (held, new) = generate::operations(80, 1);
    for (name, operations) in [("held", &held), ("new", &new)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        files::write(&path(name), operations).unwrap();
    }
    let homes = Homes::of_file(&path("held"), "home");
    let tried = Homes::of_file(&path("new"), "home");
    let label = format!("domain(category, '{}')", CATEGORIES.join("', '"));
    let features = [
        "words(label, 512)",
        "domain(CASE WHEN amount > 0 THEN 'in' WHEN amount > -20 THEN 'small' \
         WHEN amount > -100 THEN 'middle' ELSE 'large' END, 'in', 'small', 'middle', 'large')",
    ];
    let settings = Settings {
        adaptive: true,
        ..settings(0.2)
    };
    let central = central::naive_bayes(&held, 512).accuracy(&new);
    let logistic = Family::Logistic { newton: false };
    for (family, updates, bits) in [(Family::Bayes, 1, 16), (logistic, 20, 8)] {
        let mut request = question(family.clone(), Some(&label), &features).request;
        (request.updates, request.bits) = (updates, bits);
        request.from = "io.cozy.bank.operations".into();
        let plan = homes.plan(&request);
        let fit = train(&plan, &homes.measured(&plan), &settings);
        let ours = accuracy(&said(fit.model(), &tried.measured(&plan)));
        assert!(ours > central - 0.02, "{family:?}: {ours} {central}");
    }
    // A home alone has too little data for such an accuracy.
    let alone = central::alone(&held, &new, |of| central::naive_bayes(of, 512));
    assert!(central > alone + 0.2, "{central} {alone}");
}
