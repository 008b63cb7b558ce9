//! Plain evaluation of local queries without SQLite, which the engine must agree with.

use std::collections::BTreeMap;

use dispers_query::local::{
    Aggregate, AggregateFunction, Arithmetic, Category, Comparison, Expr, FieldValue, Function,
    LocalQuery, Node,
};

#[derive(Clone, PartialEq, PartialOrd, Debug)]
pub(crate) enum Plain {
    Null,
    Boolean(bool),
    Integer(i64),
    Real(f64),
    Text(String),
}

use Plain::{Boolean, Integer, Null, Real, Text};

/// Category positions and measured values of each home with a row.
pub(crate) type Rows = BTreeMap<u32, (Vec<Option<usize>>, Vec<Option<f64>>)>;

pub(crate) fn evaluate(query: &LocalQuery, documents: &[(u32, Vec<FieldValue>)]) -> Rows {
    let mut homes: BTreeMap<u32, Vec<Vec<Plain>>> = BTreeMap::new();
    for (home, values) in documents {
        let values = values.iter().map(|value| match value {
            FieldValue::Null => Null,
            FieldValue::Integer(v) => Integer(*v),
            FieldValue::Real(v) => Real(*v),
            FieldValue::Text(t) => Text(t.clone()),
        });
        homes.entry(*home).or_default().push(values.collect());
    }
    let mut rows = Rows::new();
    for (home, documents) in homes {
        let row = match &query.inner {
            None => documents[0].clone(),
            Some(inner) => {
                let kept: Vec<_> = documents
                    .iter()
                    .filter(|d| holds(inner.filter.as_ref(), d))
                    .collect();
                if kept.is_empty() {
                    continue;
                }
                inner
                    .aggregates
                    .iter()
                    .map(|a| aggregate(a, &kept))
                    .collect()
            }
        };
        if !holds(query.filter.as_ref(), &row) {
            continue;
        }
        let categories = query.keys.iter().map(|key| {
            let value = value(&key.expr, &row);
            key.categories
                .iter()
                .position(|category| match (category, &value) {
                    (Category::Boolean(a), Boolean(b)) => a == b,
                    (Category::Integer(a), Integer(b)) => a == b,
                    (Category::Text(a), Text(b)) => a == b,
                    _ => false,
                })
        });
        let values = query.measures.iter().map(|m| match value(&m.expr, &row) {
            Null => None,
            Integer(v) => Some(v as f64),
            Real(v) => Some(v),
            Boolean(v) => Some(f64::from(u8::from(v))),
            Text(_) => Some(0.0),
        });
        rows.insert(home, (categories.collect(), values.collect()));
    }
    rows
}

fn holds(filter: Option<&Expr>, row: &[Plain]) -> bool {
    filter.is_none_or(|filter| value(filter, row) == Boolean(true))
}

fn aggregate(aggregate: &Aggregate, documents: &[&Vec<Plain>]) -> Plain {
    let Some(argument) = &aggregate.argument else {
        return Integer(documents.len() as i64);
    };
    let values: Vec<Plain> = documents
        .iter()
        .map(|d| value(argument, d))
        .filter(|v| *v != Null)
        .collect();
    let real = || {
        values.iter().map(|v| match v {
            Integer(v) => *v as f64,
            Real(v) => *v,
            _ => panic!("not a number"),
        })
    };
    let extreme = |wanted: std::cmp::Ordering| {
        let mut best = values[0].clone();
        for v in &values {
            if v.partial_cmp(&best) == Some(wanted) {
                best = v.clone();
            }
        }
        best
    };
    match aggregate.function {
        AggregateFunction::Count => Integer(values.len() as i64),
        _ if values.is_empty() => Null,
        AggregateFunction::Average => Real(real().sum::<f64>() / values.len() as f64),
        AggregateFunction::Sum => match values[0] {
            Integer(_) => Integer(real().sum::<f64>() as i64),
            _ => Real(real().sum()),
        },
        AggregateFunction::Minimum => extreme(std::cmp::Ordering::Less),
        AggregateFunction::Maximum => extreme(std::cmp::Ordering::Greater),
    }
}

fn value(expr: &Expr, row: &[Plain]) -> Plain {
    expr.fold(|node, o: Vec<Plain>| match node {
        Node::Null(_) => Null,
        Node::Boolean(v) => Boolean(*v),
        Node::Integer(v) => Integer(*v),
        Node::Real(v) => Real(*v),
        Node::Text(t) => Text(t.clone()),
        Node::Column(i) => row[usize::from(*i)].clone(),
        Node::And(_) => all(&o),
        Node::Or(_) => not(all(&o.iter().cloned().map(not).collect::<Vec<_>>())),
        Node::IsNull => Boolean(o[0] == Null),
        Node::Coalesce(_) => o.into_iter().find(|v| *v != Null).unwrap_or(Null),
        Node::Case { whens, otherwise } => {
            let whens = usize::from(*whens);
            let hit = (0..whens).find(|i| o[2 * i] == Boolean(true));
            match hit {
                Some(i) => o[2 * i + 1].clone(),
                None if *otherwise => o[2 * whens].clone(),
                None => Null,
            }
        }
        Node::NullIf => match compare(Comparison::Equal, &o[0], &o[1]) {
            Boolean(true) => Null,
            _ => o[0].clone(),
        },
        Node::Compare(c) => compare(*c, &o[0], &o[1]),
        Node::Between => all(&[
            compare(Comparison::GreaterOrEqual, &o[0], &o[1]),
            compare(Comparison::LessOrEqual, &o[0], &o[2]),
        ]),
        Node::In(_) => {
            let found: Vec<_> = o[1..]
                .iter()
                .map(|v| not(compare(Comparison::Equal, &o[0], v)))
                .collect();
            not(all(&found))
        }
        _ if o.contains(&Null) => Null,
        Node::Not => not(o[0].clone()),
        Node::ToReal => match o[0] {
            Integer(v) => Real(v as f64),
            _ => panic!("not an integer"),
        },
        Node::ToInteger => match o[0] {
            Real(v) => Integer(v.round_ties_even() as i64),
            Boolean(v) => Integer(v.into()),
            _ => panic!("not a real"),
        },
        Node::Negate => match o[0] {
            Integer(v) => Integer(-v),
            Real(v) => Real(-v),
            _ => panic!("not a number"),
        },
        Node::Arithmetic(operation) => match (operation, &o[0], &o[1]) {
            (Arithmetic::Divide, Integer(_), Integer(0)) => Null,
            (Arithmetic::Divide, Real(_), Real(0.0)) => Null,
            (Arithmetic::Add, Integer(a), Integer(b)) => Integer(a + b),
            (Arithmetic::Subtract, Integer(a), Integer(b)) => Integer(a - b),
            (Arithmetic::Multiply, Integer(a), Integer(b)) => Integer(a * b),
            (Arithmetic::Divide, Integer(a), Integer(b)) => Integer(a / b),
            (Arithmetic::Add, Real(a), Real(b)) => Real(a + b),
            (Arithmetic::Subtract, Real(a), Real(b)) => Real(a - b),
            (Arithmetic::Multiply, Real(a), Real(b)) => Real(a * b),
            (Arithmetic::Divide, Real(a), Real(b)) => Real(a / b),
            _ => panic!("mixed types"),
        },
        Node::Like => match (&o[0], &o[1]) {
            (Text(text), Text(pattern)) => {
                let (text, pattern): (Vec<_>, Vec<_>) =
                    (text.chars().collect(), pattern.chars().collect());
                Boolean(like(&text, &pattern))
            }
            _ => panic!("not texts"),
        },
        Node::Function(function) => match (function, &o[0]) {
            (Function::Abs, Integer(v)) => Integer(v.abs()),
            (Function::Abs, Real(v)) => Real(v.abs()),
            (Function::Round, Real(v)) => Real(v.round_ties_even()),
            (Function::Floor, Real(v)) => Real(v.floor()),
            (Function::Ceil, Real(v)) => Real(v.ceil()),
            (Function::Length, Text(t)) => Integer(t.chars().count() as i64),
            (Function::Lower, Text(t)) => Text(t.to_lowercase()),
            (Function::Upper, Text(t)) => Text(t.to_uppercase()),
            _ => panic!("mixed types"),
        },
    })
}

fn all(values: &[Plain]) -> Plain {
    if values.contains(&Boolean(false)) {
        Boolean(false)
    } else if values.contains(&Null) {
        Null
    } else {
        Boolean(true)
    }
}

fn not(value: Plain) -> Plain {
    match value {
        Boolean(v) => Boolean(!v),
        _ => Null,
    }
}

fn compare(comparison: Comparison, a: &Plain, b: &Plain) -> Plain {
    if *a == Null || *b == Null {
        return Null;
    }
    Boolean(match comparison {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
    })
}

/// Matches as LIKE is defined, in exponential time.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|i| like(&text[i..], rest)),
        ['\\', c, rest @ ..] => text.first() == Some(c) && like(&text[1..], rest),
        ['_', rest @ ..] => !text.is_empty() && like(&text[1..], rest),
        [c, rest @ ..] => text.first() == Some(c) && like(&text[1..], rest),
    }
}
