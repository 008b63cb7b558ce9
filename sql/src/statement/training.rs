//! Features and label of a training session, bound to measures of the local query.

use sqlparser::ast::Expr as Ast;

use super::bound::Bound;
use super::error::SqlError;
use super::expression::bind;
use super::functions::{Call, as_call};
use super::measures::Measures;
use super::names::Names;
use super::outputs::named;
use super::parse::Selected;
use super::walk::position_of;
use crate::decode::Value;
use dispers_query::local::{Kind, Node};
use dispers_training::{Feature, Label};

/// Number of buckets of `words` if none is written.
const BUCKETS: u16 = 1024;

/// Bound features and label.
pub(crate) struct Bindings {
    pub(crate) measures: Measures,
    pub(crate) features: Vec<Feature>,
    pub(crate) label: Option<Label>,
    /// Names of the columns that the features become.
    pub(crate) names: Vec<String>,
    /// Names of the label's classes.
    pub(crate) classes: Vec<String>,
}

/// Binds the items of a SELECT. If `labelled`, the first item is the label. If `classified`, the label must have
/// classes.
///
/// # Errors
/// [`SqlError`], which says what to write instead.
pub(crate) fn bind_training(
    selected: &Selected,
    labelled: bool,
    classified: bool,
    names: &mut dyn Names,
) -> Result<Bindings, SqlError> {
    let mut bound = Bindings {
        measures: Measures::default(),
        features: Vec::new(),
        label: None,
        names: Vec::new(),
        classes: Vec::new(),
    };
    for (place, item) in selected.select.projection.iter().enumerate() {
        let ast = named(item)?.0;
        match labelled && place == 0 {
            true => bound.label(ast, classified, names)?,
            false => bound.feature(ast, names)?,
        }
    }
    Ok(bound)
}

impl Bindings {
    /// Binds the label: a category, a clamped number, a condition, or a column with a range.
    fn label(
        &mut self,
        ast: &Ast,
        classified: bool,
        names: &mut dyn Names,
    ) -> Result<(), SqlError> {
        let call = as_call(ast).transpose()?;
        let name = call.as_ref().map(|call| call.name.as_str());
        if name == Some("domain") {
            let (measure, values) = self.measures.category(ast, None, names)?;
            self.classes = values.iter().map(written).collect();
            let classes = values.len() as u16;
            self.label = Some(Label { measure, classes });
            return Ok(());
        }
        if name == Some("clamp") {
            if classified {
                return Err(unclassified(
                    ast,
                    "write a condition, or domain(label, 'a', 'b')",
                ));
            }
            let measure = self.measures.clamped("AVG", ast, None, names)?;
            self.label = Some(Label {
                measure,
                classes: 0,
            });
            return Ok(());
        }
        let bound = bind(ast, names)?;
        let two = || vec!["0".to_owned(), "1".to_owned()];
        match bound.typed.kind {
            Kind::Boolean => {
                let number = Bound::apply(Node::ToInteger, vec![bound])?;
                let measure = self.measures.bit(number, ast.to_string())?;
                self.classes = two();
                self.label = Some(Label {
                    measure,
                    classes: 2,
                });
            }
            Kind::Integer | Kind::Real => {
                let position = bound.position;
                let Some(range) = names.range(&bound.expr) else {
                    return Err(SqlError::new(
                        position,
                        format!("the label {ast} has no range in the catalogue"),
                        format!("write clamp({ast}, lo, hi)"),
                    ));
                };
                // Integers from 0 to 1 are two classes, also for a model that could learn them as a number.
                let binary = range == (0.0, 1.0, true);
                if classified && !binary {
                    return Err(unclassified(
                        ast,
                        "write a condition such as 'label >= 3', give --positive, or write domain(label, 1, 2, 3)",
                    ));
                }
                let measure = self.measures.ranged(bound, range, ast.to_string())?;
                let classes = if binary { 2 } else { 0 };
                if binary {
                    self.classes = two();
                }
                self.label = Some(Label { measure, classes });
            }
            Kind::Text => {
                return Err(SqlError::new(
                    bound.position,
                    format!("the label {ast} is text"),
                    "give --positive with the value that counts as 1, or write domain(label, 'a', 'b')",
                ));
            }
        }
        Ok(())
    }

    /// Binds a feature and names its columns.
    fn feature(&mut self, ast: &Ast, names: &mut dyn Names) -> Result<(), SqlError> {
        if let Ast::Nested(inner) = ast {
            return self.feature(inner, names);
        }
        let call = as_call(ast).transpose()?;
        let feature = match call.as_ref().map(|call| call.name.as_str()) {
            Some("clamp") => {
                let measure = self.measures.clamped("AVG", ast, None, names)?;
                self.names.push(first_argument(call.as_ref()));
                Feature::Number(measure)
            }
            Some("domain") => {
                let (measure, values) = self.measures.category(ast, None, names)?;
                let value = first_argument(call.as_ref());
                // The first value has no column, because it would follow from the others.
                for one in values.iter().skip(1) {
                    self.names.push(format!("{value} = {}", written(one)));
                }
                Feature::Category(measure)
            }
            Some("words") => {
                let call = call.as_ref().expect("its name was read");
                let (text, buckets) = match call.arguments.as_slice() {
                    [text] => (*text, BUCKETS),
                    [text, buckets] => (
                        *text,
                        buckets.to_string().parse().map_err(|_| words_usage(ast))?,
                    ),
                    _ => return Err(words_usage(ast)),
                };
                let bound = bind(text, names)?;
                if bound.typed.kind != Kind::Text {
                    return Err(words_usage(ast));
                }
                let measure = self.measures.text(bound, text.to_string())?;
                let name = |bucket| format!("words({text})[{bucket}]");
                self.names.extend((0..buckets).map(name));
                Feature::Words { measure, buckets }
            }
            _ => {
                let bound = bind(ast, names)?;
                let measure = match (bound.typed.kind, names.range(&bound.expr)) {
                    (Kind::Boolean, _) => {
                        let number = Bound::apply(Node::ToInteger, vec![bound])?;
                        self.measures.bit(number, ast.to_string())?
                    }
                    (Kind::Text, _) => {
                        return Err(SqlError::new(
                            bound.position,
                            format!("the feature {ast} is text"),
                            format!("write domain({ast}, 'a', 'b') or words({ast}, 1024)"),
                        ));
                    }
                    (_, None) => {
                        return Err(SqlError::new(
                            bound.position,
                            format!("the feature {ast} has no range in the catalogue"),
                            format!("write clamp({ast}, lo, hi)"),
                        ));
                    }
                    (_, Some(range)) => self.measures.ranged(bound, range, ast.to_string())?,
                };
                self.names.push(ast.to_string());
                Feature::Number(measure)
            }
        };
        let label = self.label.map(|label| label.measure);
        let measure = match feature {
            Feature::Number(measure)
            | Feature::Category(measure)
            | Feature::Words { measure, .. } => measure,
        };
        // Equal values share a measure, whatever their texts. A feature that is the label would predict it without
        // learning anything, and two equal features have no unique coefficients.
        if self.features.contains(&feature) || label == Some(measure) {
            return Err(SqlError::new(
                position_of(ast),
                format!("{ast} stands twice"),
                "write each feature once, and the label not among them",
            ));
        }
        self.features.push(feature);
        Ok(())
    }
}

/// Returns the error for a label that has other than two classes.
fn unclassified(label: &Ast, instead: &str) -> SqlError {
    let what = format!("the label {label} has no two classes");
    SqlError::new(position_of(label), what, instead)
}

/// Returns the error for a call of `words` with other arguments.
fn words_usage(call: &Ast) -> SqlError {
    let what = format!("{call} takes a text, and how many buckets its words are hashed into");
    SqlError::new(position_of(call), what, "write words(label, 1024)")
}

/// Returns the text of a call's first argument; an empty text if there is none.
fn first_argument(call: Option<&Call<'_>>) -> String {
    let argument = call.and_then(|call| call.arguments.first());
    argument.map(ToString::to_string).unwrap_or_default()
}

/// Returns a value of a domain as the names of columns and classes show it.
fn written(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Null => "NULL".to_owned(),
    }
}
