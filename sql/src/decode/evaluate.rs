//! Expressions over released aggregates, evaluated at the querier with PostgreSQL's meaning. There is one
//! difference: where PostgreSQL would end the query with an error, the value is NULL, so that a result that
//! was paid for is not lost.

use std::cmp::Ordering;

use super::Value;
use dispers_query::local::{Arithmetic, Comparison, Expr, Function, Node};

use Value::{Boolean, Integer, Null, Real, Text};

/// A value, and whether it is NULL because of a division by zero.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evaluated {
    pub(super) value: Value,
    pub(super) divided_by_zero: bool,
}

/// Evaluates `expr`, in which [`Node::Column`] is an index into `columns`.
pub(super) fn evaluate(expr: &Expr, columns: &[Value]) -> Evaluated {
    let mut divided_by_zero = false;
    let value = expr.fold(|node, operands: Vec<Value>| {
        // All branches of CASE are evaluated, so a division in a branch that is not taken is reported too.
        if let (Node::Arithmetic(Arithmetic::Divide), [_, Integer(0)] | [_, Real(0.0)]) =
            (node, operands.as_slice())
        {
            divided_by_zero = true;
        }
        value(node, operands, columns)
    });
    Evaluated {
        value,
        divided_by_zero,
    }
}

/// Returns the order of two values of one type, or of two numbers. Returns `None` for any other pair, such as
/// one with a NULL.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Boolean(a), Boolean(b)) => Some(a.cmp(b)),
        (Integer(a), Integer(b)) => Some(a.cmp(b)),
        (Real(a), Real(b)) => a.partial_cmp(b),
        (Integer(a), Real(b)) => (*a as f64).partial_cmp(b),
        (Real(a), Integer(b)) => a.partial_cmp(&(*b as f64)),
        (Text(a), Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn value(node: &Node, mut o: Vec<Value>, columns: &[Value]) -> Value {
    match node {
        Node::Null(_) => Null,
        Node::Boolean(value) => Boolean(*value),
        Node::Integer(value) => Integer((*value).into()),
        Node::Real(value) => Real(*value),
        Node::Text(text) => Text(text.clone()),
        Node::Column(index) => columns.get(usize::from(*index)).cloned().unwrap_or(Null),
        Node::And(_) => all(o.into_iter()),
        // By De Morgan's law, which also holds in three-valued logic.
        Node::Or(_) => not(all(o.into_iter().map(not))),
        Node::IsNull => Boolean(o[0] == Null),
        Node::Coalesce(_) => o.into_iter().find(|value| *value != Null).unwrap_or(Null),
        Node::Case { whens, .. } => {
            let pairs = 2 * usize::from(*whens);
            let hit = (0..pairs).step_by(2).find(|at| o[*at] == Boolean(true));
            let place = hit.map_or(pairs, |at| at + 1);
            match place < o.len() {
                true => o.swap_remove(place),
                false => Null,
            }
        }
        Node::NullIf => match holds(Comparison::Equal, &o[0], &o[1]) {
            Boolean(true) => Null,
            _ => o.swap_remove(0),
        },
        Node::Compare(comparison) => holds(*comparison, &o[0], &o[1]),
        Node::Between => all([
            holds(Comparison::GreaterOrEqual, &o[0], &o[1]),
            holds(Comparison::LessOrEqual, &o[0], &o[2]),
        ]
        .into_iter()),
        Node::In(_) => {
            let others = o[1..].iter();
            not(all(others.map(|v| not(holds(Comparison::Equal, &o[0], v)))))
        }
        _ if o.contains(&Null) => Null,
        Node::Not => not(o.swap_remove(0)),
        Node::ToReal => o[0].number().map_or(Null, Real),
        Node::ToInteger => match o[0] {
            Real(value) => whole(value.round_ties_even()),
            Boolean(value) => Integer(value.into()),
            _ => Null,
        },
        Node::Negate => match o[0] {
            Integer(value) => value.checked_neg().map_or(Null, Integer),
            Real(value) => Real(-value),
            _ => Null,
        },
        Node::Arithmetic(operation) => match (&o[0], &o[1]) {
            (Integer(a), Integer(b)) => integers(*operation, *a, *b).map_or(Null, Integer),
            (a, b) => match a.number().zip(b.number()) {
                Some((a, b)) => reals(*operation, a, b),
                None => Null,
            },
        },
        Node::Like => match (&o[0], &o[1]) {
            (Text(text), Text(pattern)) => Boolean(like(text, pattern)),
            _ => Null,
        },
        Node::Function(function) => call(*function, o.swap_remove(0)),
    }
}

/// Returns the value of a function, NULL for a value of a type that it does not take.
fn call(function: Function, value: Value) -> Value {
    match function {
        Function::Abs => match value {
            Integer(value) => value.checked_abs().map_or(Null, Integer),
            Real(value) => Real(value.abs()),
            _ => Null,
        },
        Function::Round => of_real(value, f64::round_ties_even),
        Function::Floor => of_real(value, f64::floor),
        Function::Ceil => of_real(value, f64::ceil),
        Function::Length => match value {
            Text(text) => Integer(text.chars().count() as i128),
            _ => Null,
        },
        Function::Lower => of_text(value, str::to_lowercase),
        Function::Upper => of_text(value, str::to_uppercase),
    }
}

fn of_real(value: Value, function: fn(f64) -> f64) -> Value {
    match value {
        Real(value) => Real(function(value)),
        _ => Null,
    }
}

fn of_text(value: Value, function: fn(&str) -> String) -> Value {
    match value {
        Text(text) => Text(function(&text)),
        _ => Null,
    }
}

/// Converts a real number to an integer. Returns NULL if it is beyond 64 bits, where PostgreSQL has no
/// integer.
fn whole(value: f64) -> Value {
    match value.abs() < (1u64 << 63) as f64 {
        true => Integer(value as i128),
        false => Null,
    }
}

fn integers(operation: Arithmetic, a: i128, b: i128) -> Option<i128> {
    match operation {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
    }
}

fn reals(operation: Arithmetic, a: f64, b: f64) -> Value {
    let value = match operation {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
    };
    match value.is_finite() {
        true => Real(value),
        false => Null,
    }
}

fn all(values: impl Iterator<Item = Value>) -> Value {
    let mut result = Boolean(true);
    for value in values {
        match value {
            Boolean(true) => {}
            Boolean(false) => return Boolean(false),
            _ => result = Null,
        }
    }
    result
}

fn not(value: Value) -> Value {
    match value {
        Boolean(value) => Boolean(!value),
        _ => Null,
    }
}

fn holds(comparison: Comparison, a: &Value, b: &Value) -> Value {
    let Some(order) = compare(a, b) else {
        return Null;
    };
    Boolean(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

/// Returns whether a text matches a LIKE pattern. All positions that can be reached are followed together, so
/// that the time is bounded by the product of the lengths for every pattern.
fn like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut pattern = pattern.chars();
    while let Some(sign) = pattern.next() {
        let literal = match sign {
            '%' => {
                let first = reached.iter().position(|at| *at);
                reached[first.unwrap_or(text.len() + 1).min(text.len())..].fill(first.is_some());
                continue;
            }
            '_' => None,
            '\\' => Some(pattern.next().unwrap_or('\\')),
            sign => Some(sign),
        };
        // From the end, because each position is read before it is overwritten.
        for at in (0..text.len()).rev() {
            reached[at + 1] = reached[at] && literal.is_none_or(|sign| sign == text[at]);
        }
        reached[0] = false;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_sql() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "_b_", true),
            ("abc", "a_", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("aXbXc", "a%X%c", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(like(text, pattern), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn what_has_no_value_is_null_and_a_division_by_zero_is_told() {
        let two = |node| {
            let leaves = [Node::Column(0), Node::Column(1), node];
            Expr::new(leaves.into()).unwrap()
        };
        let divide = two(Node::Arithmetic(Arithmetic::Divide));
        let of = |a: Value, b: Value| evaluate(&divide, &[a, b]);
        assert_eq!(of(Integer(7), Integer(2)).value, Integer(3));
        assert_eq!(of(Real(7.0), Real(2.0)).value, Real(3.5));
        assert!(!of(Integer(7), Null).divided_by_zero);
        for (a, b) in [(Integer(7), Integer(0)), (Real(7.0), Real(0.0))] {
            let evaluated = of(a, b);
            assert_eq!((evaluated.value, evaluated.divided_by_zero), (Null, true));
        }
        let add = two(Node::Arithmetic(Arithmetic::Add));
        let sum = evaluate(&add, &[Integer(i128::MAX), Integer(1)]);
        assert_eq!(sum.value, Null);
        let or = two(Node::Or(2));
        assert_eq!(evaluate(&or, &[Null, Boolean(true)]).value, Boolean(true));
        assert_eq!(evaluate(&or, &[Null, Boolean(false)]).value, Null);
    }
}
