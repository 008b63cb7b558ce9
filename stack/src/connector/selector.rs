//! Selectors: conditions of a local query that any store of JSON documents can check, so that it sends fewer documents.
//!
//! A selector only saves work. The local query filters again, so a selector must never leave out a document that the
//! query would take. A condition that a store could understand differently from SQL is therefore not in the selector.

use dispers_query::local::{Comparison, LocalQuery, Node};
use serde_json::Value;

/// Conditions that a document must meet, all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector(pub Vec<Condition>);

/// A condition on one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Name of the field in the catalogue.
    pub field: String,
    /// Comparison of the field with the values.
    pub operator: Operator,
    /// Values to compare with: one value, the values of a list, or none for [`Operator::Exists`].
    pub values: Vec<Value>,
}

/// Comparison of a field. A document without the field meets no comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The field is equal to the value.
    Equal,
    /// The field is below the number.
    Less,
    /// The field is at most the number.
    LessOrEqual,
    /// The field is above the number.
    Greater,
    /// The field is at least the number.
    GreaterOrEqual,
    /// The field is equal to one of the values.
    In,
    /// The field is present.
    Exists,
}

/// Bound on integers. From it on, integers are not the same number in every store of JSON.
const EXACT: u64 = 1 << 53;

/// Part of an expression, as far as a selector can use it.
enum Part {
    Column(usize),
    Literal(Value),
    IsNull(usize),
    Conditions(Vec<Condition>),
    Other,
}

impl Selector {
    /// Returns the conditions of `query` on documents. There are none where a home has one document only: if it holds
    /// more, the first counts, whether or not it meets the conditions.
    pub fn of(query: &LocalQuery) -> Self {
        let fields: Vec<&str> = query.fields().collect();
        let filter = query.inner.as_ref().and_then(|inner| inner.filter.as_ref());
        let part = filter.map(|filter| filter.fold(|node, parts| part(node, parts, &fields)));
        match part {
            Some(Part::Conditions(conditions)) => Self(conditions),
            _ => Self::default(),
        }
    }
}

/// Converts a node of an expression, given its converted operands.
fn part(node: &Node, parts: Vec<Part>, fields: &[&str]) -> Part {
    match (node, &parts[..]) {
        (Node::Column(index), _) => Part::Column(usize::from(*index)),
        (Node::Integer(value), _) if value.unsigned_abs() < EXACT => Part::Literal((*value).into()),
        // JSON has no infinite numbers.
        (Node::Real(value), _) if value.is_finite() => Part::Literal((*value).into()),
        (Node::Text(text), _) => Part::Literal(text.as_str().into()),
        // Stores of JSON compare integers and reals as numbers, so that the conversion changes nothing.
        (Node::ToReal, [Part::Column(column)]) => Part::Column(*column),
        (Node::ToReal, [Part::Literal(value)]) => Part::Literal(value.clone()),
        (Node::Compare(comparison), [Part::Column(column), Part::Literal(value)]) => {
            let operator = match comparison {
                Comparison::Equal => Operator::Equal,
                // Other stores order texts differently.
                _ if !value.is_number() => return Part::Other,
                Comparison::Less => Operator::Less,
                Comparison::LessOrEqual => Operator::LessOrEqual,
                Comparison::Greater => Operator::Greater,
                Comparison::GreaterOrEqual => Operator::GreaterOrEqual,
                Comparison::NotEqual => return Part::Other,
            };
            condition(fields, *column, operator, vec![value.clone()])
        }
        (
            Node::Between,
            [
                Part::Column(column),
                Part::Literal(low),
                Part::Literal(high),
            ],
        ) if low.is_number() && high.is_number() => {
            let low = condition(fields, *column, Operator::GreaterOrEqual, vec![low.clone()]);
            let high = condition(fields, *column, Operator::LessOrEqual, vec![high.clone()]);
            both(vec![low, high])
        }
        (Node::In(_), [Part::Column(column), values @ ..]) => {
            let values: Option<Vec<Value>> = values
                .iter()
                .map(|value| match value {
                    Part::Literal(value) => Some(value.clone()),
                    _ => None,
                })
                .collect();
            values.map_or(Part::Other, |values| {
                condition(fields, *column, Operator::In, values)
            })
        }
        (Node::IsNull, [Part::Column(column)]) => Part::IsNull(*column),
        // Only this negation is safe. The conditions of a conjunction may be incomplete, so that their negation could
        // leave out documents that the query takes.
        (Node::Not, [Part::IsNull(column)]) => {
            condition(fields, *column, Operator::Exists, Vec::new())
        }
        // Every operand of AND must hold, so that the conditions of one may be used without the others. OR has no such
        // conditions.
        (Node::And(_), _) => both(parts),
        _ => Part::Other,
    }
}

/// Returns a condition on a column; `Part::Other` if `fields` has no such column.
fn condition(fields: &[&str], column: usize, operator: Operator, values: Vec<Value>) -> Part {
    match fields.get(column) {
        None => Part::Other,
        Some(field) => Part::Conditions(vec![Condition {
            field: (*field).to_owned(),
            operator,
            values,
        }]),
    }
}

/// Returns the conditions that are known of parts that must all hold.
fn both(parts: Vec<Part>) -> Part {
    let conditions = parts.into_iter().filter_map(|part| match part {
        Part::Conditions(conditions) => Some(conditions),
        _ => None,
    });
    Part::Conditions(conditions.flatten().collect())
}

#[cfg(test)]
mod tests {
    use dispers_query::{
        catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind},
        local::FieldValue,
    };
    use dispers_sql::plan::{Plan, PlanLimits};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::engine::Engine;

    fn query(filter: &str) -> LocalQuery {
        let field = |name: &str, kind| Field {
            name: name.into(),
            kind,
            unit: String::new(),
            range: None,
            nullable: true,
        };
        let doctype = |name: &str, cardinality| Doctype {
            name: name.into(),
            cardinality,
            fields: vec![
                field("n", FieldKind::Integer),
                field("x", FieldKind::Real),
                field("s", FieldKind::Text),
            ],
        };
        let catalogue = Catalogue {
            doctypes: vec![
                doctype("many", Cardinality::Many),
                doctype("one", Cardinality::One),
            ],
            concepts: Vec::new(),
        };
        let sql = match filter.strip_prefix("one:") {
            Some(filter) => format!("SELECT COUNT(*) FROM one WHERE {filter}"),
            None => format!(
                "SELECT SUM(clamp(t, 0, 9999, 1)), SUM(clamp(c, 0, 99, 1)) FROM
                 (SELECT SUM(n) AS t, COUNT(*) AS c, MIN(x) AS m, MAX(s) AS w FROM many
                  WHERE {filter}) AS home"
            ),
        };
        Plan::new(&sql, &catalogue, &PlanLimits::default())
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .local
    }

    fn shown(filter: &str) -> String {
        let conditions = Selector::of(&query(filter)).0;
        let shown = conditions
            .iter()
            .map(|c| format!("{} {:?} {}", c.field, c.operator, json!(c.values)));
        shown.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn an_integer_that_a_store_would_round_is_no_literal() {
        let literal = |value| matches!(part(&Node::Integer(value), vec![], &[]), Part::Literal(_));
        assert!(literal(1 - (1 << 53)) && literal((1 << 53) - 1));
        for value in [1 << 53, -(1 << 53), i64::MAX, i64::MIN] {
            assert!(!literal(value), "{value}");
        }
    }

    #[test]
    fn what_every_store_sees_alike_is_selected_and_nothing_else() {
        for (filter, selected) in [
            ("n = 3", "n Equal [3]"),
            ("n >= 3 AND x < 2.5", "n GreaterOrEqual [3]; x Less [2.5]"),
            ("s = 'a' AND s < 'b'", "s Equal [\"a\"]"),
            (
                "s IN ('a', 'b') AND n BETWEEN 1 AND 2",
                "s In [\"a\",\"b\"]; n GreaterOrEqual [1]; n LessOrEqual [2]",
            ),
            ("n IS NOT NULL AND s LIKE 'a%'", "n Exists []"),
            ("n = 1 OR n = 2", ""),
            ("NOT (n = 1 AND x = 2.0)", ""),
            ("n <> 1", ""),
            ("n IS NULL", ""),
            ("n + 1 = 2", ""),
            ("n = 9007199254740993", ""),
            // A home's first document counts, whether or not it meets the condition.
            ("one:n = 3", ""),
        ] {
            assert_eq!(shown(filter), selected, "{filter}");
        }
    }

    /// Returns whether a document meets a condition, as a store of JSON would decide.
    fn meets(condition: &Condition, value: &Value) -> bool {
        if value.is_null() {
            return false;
        }
        let number = |value: &Value| value.as_f64();
        let compared = |holds: fn(f64, f64) -> bool| {
            let pair = number(value).zip(condition.values.first().and_then(number));
            pair.is_some_and(|(left, right)| holds(left, right))
        };
        let same = |other: &Value| match (number(value), number(other)) {
            (Some(left), Some(right)) => left == right,
            _ => value == other,
        };
        match condition.operator {
            Operator::Equal | Operator::In => condition.values.iter().any(same),
            Operator::Less => compared(|left, right| left < right),
            Operator::LessOrEqual => compared(|left, right| left <= right),
            Operator::Greater => compared(|left, right| left > right),
            Operator::GreaterOrEqual => compared(|left, right| left >= right),
            Operator::Exists => true,
        }
    }

    fn field_value(value: &Value) -> FieldValue {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(integer) => FieldValue::Integer(integer),
                None => FieldValue::Real(number.as_f64().unwrap()),
            },
            Value::String(text) => FieldValue::Text(text.clone()),
            _ => FieldValue::Null,
        }
    }

    /// Generates a value of any type, whatever the catalogue says of the field.
    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            (0..5i64).prop_map(Value::from),
            (0..5i64).prop_map(|n| Value::from(n as f64)),
            (0..10u8).prop_map(|n| Value::from(f64::from(n) / 2.0)),
            "[ab1]".prop_map(Value::from),
        ]
    }

    fn condition() -> impl Strategy<Value = String> {
        let comparison = prop_oneof![
            Just("="),
            Just("<"),
            Just("<="),
            Just(">"),
            Just(">="),
            Just("<>")
        ];
        prop_oneof![
            (comparison, 0..5u8).prop_map(|(c, n)| format!("n {c} {n}")),
            (0..5u8, 0..5u8).prop_map(|(l, h)| format!("x BETWEEN {l} AND {h}.5")),
            "[ab1]".prop_map(|s| format!("s = '{s}'")),
            "[ab1]".prop_map(|s| format!("s >= '{s}'")),
            (0..5u8, 0..5u8).prop_map(|(a, b)| format!("n IN ({a}, {b})")),
            Just("x IS NOT NULL".to_owned()),
            Just("s IS NULL".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn a_selector_never_changes_an_answer(
            conditions in proptest::collection::vec((condition(), any::<bool>()), 1..5),
            documents in proptest::collection::vec((0..3u32, any_value(), any_value(), any_value()), 0..12),
        ) {
            let mut filter = String::new();
            for (place, (condition, and)) in conditions.iter().enumerate() {
                let glue = match (place, and) { (0, _) => "", (_, true) => " AND ", _ => " OR " };
                filter = format!("({filter}{glue}{condition})");
            }
            let query = query(&filter);
            let selector = Selector::of(&query);
            let value = |document: &(u32, Value, Value, Value), field: &str| match field {
                "n" => document.1.clone(),
                "x" => document.2.clone(),
                _ => document.3.clone(),
            };
            let row = |document: &(u32, Value, Value, Value)| {
                let values = query.fields().map(|field| field_value(&value(document, field)));
                (document.0, values.collect::<Vec<_>>())
            };
            let evaluate = |documents: Vec<(u32, Vec<FieldValue>)>| {
                Engine::open_in_memory().unwrap().evaluate(&query, documents).unwrap()
            };
            let all = documents.iter().map(row).collect();
            let selected = documents.iter().filter(|document| {
                selector.0.iter().all(|c| meets(c, &value(document, &c.field)))
            });
            let selected = selected.map(row).collect();
            prop_assert!(evaluate(all) == evaluate(selected), "{}", filter);
        }
    }
}
