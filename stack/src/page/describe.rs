//! Description of a local query in plain words.

use dispers_core::manifest::Manifest;
use dispers_query::{
    local::{
        Aggregate, AggregateFunction, Arithmetic, Category, Comparison, Expr, Key, Measure, Node,
    },
    quantise::Step,
};

use super::{language::Language, trained};

/// Describes what happens in a home, in one sentence per step.
pub(super) fn describe(language: Language, manifest: &Manifest) -> Vec<String> {
    let say = Say(language);
    let query = &manifest.local;
    let fields: Vec<String> = query.fields().map(str::to_owned).collect();
    let mut sentences = Vec::new();
    let mut columns = fields.clone();
    if let Some(inner) = &query.inner {
        if let Some(filter) = &inner.filter {
            let condition = say.expr(filter, &fields);
            sentences.push(say.pick(
                format!("Only documents count where {condition}."),
                format!("Seuls comptent les documents où {condition}."),
            ));
        }
        columns = inner
            .aggregates
            .iter()
            .map(|a| say.aggregate(a, &fields))
            .collect();
    }
    if let Some(filter) = &query.filter {
        let condition = say.expr(filter, &columns);
        sentences.push(say.pick(
            format!("Your home takes part only if {condition}; else it sends zeros."),
            format!("Votre domicile ne participe que si {condition} ; sinon il envoie des zéros."),
        ));
    }
    for key in &query.keys {
        sentences.push(say.key(key, &columns));
    }
    match &manifest.training {
        Some(training) => {
            sentences.extend(trained::sentences(language, query, training, &columns));
        }
        None if query.measures.is_empty() => sentences.push(say.pick(
            "Your home is counted as one.".into(),
            "Votre domicile compte pour un.".into(),
        )),
        None => {
            let measures = query.measures.iter();
            sentences.extend(measures.map(|measure| say.measure(measure, &columns)));
        }
    }
    sentences.push(say.pick(
        "All this is added to what the other homes send, before anybody sees a number.".into(),
        "Tout cela est ajouté à ce qu’envoient les autres domiciles, avant que quiconque voie un \
         nombre."
            .into(),
    ));
    sentences
}

/// Writer of sentences in one language.
pub(super) struct Say(pub(super) Language);

impl Say {
    pub(super) fn pick<T>(&self, english: T, french: T) -> T {
        match self.0 {
            Language::English => english,
            Language::French => french,
        }
    }

    fn aggregate(&self, aggregate: &Aggregate, fields: &[String]) -> String {
        let of = aggregate
            .argument
            .as_ref()
            .map(|argument| self.expr(argument, fields));
        let Some(of) = of else {
            let count = self.pick("the number of your documents", "le nombre de vos documents");
            return count.into();
        };
        let (english, french) = match aggregate.function {
            AggregateFunction::Count => (
                "the number of your documents with",
                "le nombre de vos documents avec",
            ),
            AggregateFunction::Sum => ("the sum of your", "la somme de vos"),
            AggregateFunction::Average => ("the mean of your", "la moyenne de vos"),
            AggregateFunction::Minimum => ("the smallest of your", "le plus petit de vos"),
            AggregateFunction::Maximum => ("the largest of your", "le plus grand de vos"),
        };
        format!("{} {of}", self.pick(english, french))
    }

    fn key(&self, key: &Key, columns: &[String]) -> String {
        let value = self.expr(&key.expr, columns);
        let mut groups: Vec<String> = key.categories.iter().map(|c| self.category(c)).collect();
        if key.nullable {
            groups.push(self.pick("unknown", "inconnu").into());
        }
        let groups = groups.join(", ");
        self.pick(
            format!("It is counted in one group by {value}: {groups}."),
            format!("Il est compté dans un groupe selon {value} : {groups}."),
        )
    }

    fn category(&self, category: &Category) -> String {
        match category {
            Category::Boolean(true) => self.pick("yes", "oui").into(),
            Category::Boolean(false) => self.pick("no", "non").into(),
            Category::Integer(value) => value.to_string(),
            Category::Text(text) => self.pick(format!("“{text}”"), format!("« {text} »")),
        }
    }

    fn measure(&self, measure: &Measure, columns: &[String]) -> String {
        let value = self.expr(&measure.expr, columns);
        let Some(grid) = &measure.quantiser else {
            return self.pick(
                format!("It tells whether {value} is known."),
                format!("Il dit si l’on connaît {value}."),
            );
        };
        let (lo, hi) = (grid.lo(), grid.hi());
        let steps = match grid.step() {
            Step::Exact(step) => {
                self.pick(format!("in steps of {step}"), format!("par pas de {step}"))
            }
            Step::Levels4096 => self.pick(
                "rounded at random to one of 4096 steps".to_owned(),
                "arrondi au hasard à l’un de 4096 pas".to_owned(),
            ),
        };
        self.pick(
            format!("It sends {value}, as a number from {lo} to {hi}, {steps}."),
            format!("Il envoie {value}, comme nombre de {lo} à {hi}, {steps}."),
        )
    }

    /// Writes an expression in words. A function that has no words of its own is written as in SQL.
    pub(super) fn expr(&self, expr: &Expr, columns: &[String]) -> String {
        expr.fold(|node, operands: Vec<String>| match node {
            Node::Null(_) => self.pick("nothing", "rien").into(),
            Node::Boolean(value) => self.category(&Category::Boolean(*value)),
            Node::Integer(value) => value.to_string(),
            Node::Real(value) => value.to_string(),
            Node::Text(text) => self.category(&Category::Text(text.clone())),
            Node::Column(index) => columns
                .get(usize::from(*index))
                .cloned()
                .unwrap_or_default(),
            Node::ToReal => operands[0].clone(),
            Node::ToInteger => self.pick(
                format!("{} as a whole number", operands[0]),
                format!("{} en nombre entier", operands[0]),
            ),
            Node::Negate => self.pick(
                format!("minus {}", operands[0]),
                format!("moins {}", operands[0]),
            ),
            Node::Arithmetic(operation) => {
                let word = match operation {
                    Arithmetic::Add => self.pick("plus", "plus"),
                    Arithmetic::Subtract => self.pick("minus", "moins"),
                    Arithmetic::Multiply => self.pick("times", "fois"),
                    Arithmetic::Divide => self.pick("divided by", "divisé par"),
                };
                joined(&operands, word)
            }
            Node::Compare(comparison) => {
                let word = match comparison {
                    Comparison::Equal => self.pick("is", "est"),
                    Comparison::NotEqual => self.pick("is not", "n’est pas"),
                    Comparison::Less => self.pick("is below", "est inférieur à"),
                    Comparison::LessOrEqual => self.pick("is at most", "est au plus"),
                    Comparison::Greater => self.pick("is above", "est supérieur à"),
                    Comparison::GreaterOrEqual => self.pick("is at least", "est au moins"),
                };
                format!("{} {word} {}", operands[0], operands[1])
            }
            Node::Not => self.pick(
                format!("it is not so that {}", operands[0]),
                format!("il est faux que {}", operands[0]),
            ),
            Node::And(_) => joined(&operands, self.pick("and", "et")),
            Node::Or(_) => joined(&operands, self.pick("or", "ou")),
            Node::IsNull => self.pick(
                format!("{} is unknown", operands[0]),
                format!("{} est inconnu", operands[0]),
            ),
            Node::In(_) => {
                let any = operands[1..].join(", ");
                self.pick(
                    format!("{} is one of {any}", operands[0]),
                    format!("{} est parmi {any}", operands[0]),
                )
            }
            Node::Between => {
                let [value, low, high] = [&operands[0], &operands[1], &operands[2]];
                self.pick(
                    format!("{value} is from {low} to {high}"),
                    format!("{value} va de {low} à {high}"),
                )
            }
            Node::Like => self.pick(
                format!("{} looks like {}", operands[0], operands[1]),
                format!("{} ressemble à {}", operands[0], operands[1]),
            ),
            Node::Case { whens, .. } => {
                let (pairs, rest) = operands.split_at(2 * usize::from(*whens));
                let cases = pairs.chunks(2).map(|pair| {
                    self.pick(
                        format!("{} if {}", pair[1], pair[0]),
                        format!("{} si {}", pair[1], pair[0]),
                    )
                });
                let mut cases: Vec<String> = cases.collect();
                let other = rest.first().cloned();
                let other = other.unwrap_or_else(|| self.pick("unknown", "inconnu").into());
                cases.push(self.pick(format!("else {other}"), format!("sinon {other}")));
                format!("({})", cases.join("; "))
            }
            Node::Coalesce(_) => format!(
                "{} ({})",
                self.pick("the first that is known of", "le premier connu de"),
                operands.join(", ")
            ),
            Node::NullIf => self.pick(
                format!("{} unless it is {}", operands[0], operands[1]),
                format!("{} sauf si c’est {}", operands[0], operands[1]),
            ),
            Node::Function(function) => {
                format!(
                    "{}({})",
                    function.name().to_lowercase(),
                    operands.join(", ")
                )
            }
        })
    }
}

/// Joins operands by a word, in parentheses if there are several.
fn joined(operands: &[String], word: &str) -> String {
    let text = operands.join(&format!(" {word} "));
    match operands.len() > 1 {
        true => format!("({text})"),
        false => text,
    }
}
