//! Description of a training session in plain words, for a home's owner.

use dispers_query::local::LocalQuery;
use dispers_training::{Family, Feature, Training};

use super::{describe::Say, language::Language};

/// Describes a session in sentences: the model and its rounds, label and features, the row of numbers of each round,
/// and the homes that are held out.
pub(super) fn sentences(
    language: Language,
    query: &LocalQuery,
    training: &Training,
    columns: &[String],
) -> Vec<String> {
    let say = Say(language);
    let model = model(&say, &training.family);
    // The querier may leave rounds out, so this is the most.
    let rounds = training.schedule().len();
    let measures = query.measures.iter();
    let values: Vec<String> = measures
        .map(|measure| say.expr(&measure.expr, columns))
        .collect();
    let features = training.features.iter().map(|feature| match *feature {
        Feature::Number(measure) | Feature::Category(measure) => value(&values, measure).to_owned(),
        Feature::Words { measure, buckets } => {
            let text = value(&values, measure);
            say.pick(
                format!("the words of {text}, each as one of {buckets} numbers"),
                format!("les mots de {text}, chacun comme un nombre parmi {buckets}"),
            )
        }
    });
    let features = features.collect::<Vec<_>>().join(", ");
    let mut sentences = vec![say.pick(
        format!("A model is trained: {model}. Your home is asked in up to {rounds} rounds."),
        format!("Un modèle est entraîné : {model}. Votre domicile est sollicité en {rounds} tours au plus."),
    )];
    let label = training.label.map(|label| value(&values, label.measure));
    sentences.push(match label {
        Some(label) => say.pick(
            format!("It learns to tell {label} from {features}."),
            format!("Il apprend à prédire {label} à partir de : {features}."),
        ),
        None => say.pick(
            format!("It learns which homes are alike in {features}."),
            format!("Il apprend quels domiciles se ressemblent par : {features}."),
        ),
    });
    sentences.push(say.pick(
        "In each round your home computes one row of numbers from all its documents and the model so far. \
         Each number is within bounds, and it proves that."
            .to_owned(),
        "À chaque tour, votre domicile calcule une ligne de nombres à partir de tous ses documents et du \
         modèle du moment. Chaque nombre est borné, et il le prouve."
            .to_owned(),
    ));
    if training.held_out > 0 {
        // From thousandths to per cent.
        let share = f64::from(training.held_out) / 10.0;
        sentences.push(say.pick(
            format!("By chance, {share} % of the homes do not train the model and test it instead."),
            format!("Par tirage au sort, {share} % des domiciles n’entraînent pas le modèle mais l’évaluent."),
        ));
    }
    sentences
}

// A manifest that was verified names no measure beyond its query's. A page must not panic all the same.
fn value(values: &[String], measure: u16) -> &str {
    values.get(usize::from(measure)).map_or("", String::as_str)
}

/// Returns the name of a model as the page shows it.
fn model(say: &Say, family: &Family) -> String {
    let (english, french) = match family {
        Family::Linear => ("linear regression", "régression linéaire"),
        Family::Logistic { .. } => ("logistic regression", "régression logistique"),
        Family::Svm => ("a support vector machine", "machine à vecteurs de support"),
        Family::Bayes => ("naive Bayes", "classification naïve bayésienne"),
        Family::KMeans { clusters, .. } => {
            return say.pick(
                format!("{clusters} groups of alike homes"),
                format!("{clusters} groupes de domiciles semblables"),
            );
        }
        Family::Mlp { .. } => ("a neural network", "réseau de neurones"),
    };
    say.pick(english, french).to_owned()
}

#[cfg(test)]
mod tests {
    use dispers_query::catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind};
    use dispers_sql::plan::{TrainingPlan, TrainingRequest};

    use super::*;

    fn said(language: Language, family: Family, label: Option<&str>) -> String {
        let field = |name: &str, kind| Field {
            name: name.into(),
            kind,
            unit: String::new(),
            range: None,
            nullable: true,
        };
        let catalogue = Catalogue {
            doctypes: vec![Doctype {
                name: "operations".into(),
                cardinality: Cardinality::Many,
                fields: vec![
                    field("label", FieldKind::Text),
                    field("amount", FieldKind::Real),
                ],
            }],
            concepts: Vec::new(),
        };
        let request = TrainingRequest {
            label: label.map(str::to_owned),
            positive: None,
            features: vec!["words(label, 512)".into(), "clamp(amount, 0, 9)".into()],
            from: "operations".into(),
            condition: None,
            family,
            bits: 8,
            clip: None,
            held_out: 200,
            updates: 4,
        };
        let plan = TrainingPlan::new(&request, &catalogue).unwrap();
        let columns = ["label", "amount"].map(str::to_owned);
        let fields: Vec<String> = plan.local.fields().map(str::to_owned).collect();
        assert_eq!(fields.len(), columns.len());
        sentences(language, &plan.local, &plan.training, &fields).join("\n")
    }

    #[test]
    fn an_owner_reads_what_is_learnt_from_what_and_how_often() {
        let logistic = Family::Logistic { newton: false };
        let english = said(Language::English, logistic.clone(), Some("amount > 5"));
        for words in [
            "logistic regression. Your home is asked in up to 6 rounds.",
            "the words of label, each as one of 512 numbers, amount",
            "It learns to tell",
            "20 % of the homes",
        ] {
            assert!(english.contains(words), "{words}: {english}");
        }
        let french = said(Language::French, logistic, Some("amount > 5"));
        assert!(french.contains("régression logistique"), "{french}");
        assert!(french.contains("les mots de label"), "{french}");
        let kmeans = Family::KMeans {
            clusters: 3,
            candidates: 16,
        };
        let alike = said(Language::English, kmeans, None);
        assert!(alike.contains("3 groups of alike homes"), "{alike}");
        assert!(!alike.contains("to tell"), "{alike}");
    }
}
