//! Functions with PostgreSQL's meaning, where SQLite has another.
//!
//! PostgreSQL fails where a number overflows. Here the value becomes NULL, so that strange data of one home never fails
//! the others.

use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result};

const FLAGS: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_DETERMINISTIC);

fn unary(connection: &Connection, name: &str, f: fn(ValueRef<'_>) -> Value) -> Result<()> {
    connection.create_scalar_function(name, 1, FLAGS, move |ctx| Ok(f(ctx.get_raw(0))))
}

fn binary(
    connection: &Connection,
    name: &str,
    f: fn(ValueRef<'_>, ValueRef<'_>) -> Value,
) -> Result<()> {
    connection.create_scalar_function(name, 2, FLAGS, move |ctx| {
        Ok(f(ctx.get_raw(0), ctx.get_raw(1)))
    })
}

/// Registers the functions that [`render`](crate::render) calls.
pub(super) fn register(connection: &Connection) -> Result<()> {
    // SQLite makes a real number of an integer that overflows. Here it becomes NULL.
    binary(connection, "d_add", |a, b| {
        arithmetic(a, b, i64::checked_add, |a, b| a + b)
    })?;
    binary(connection, "d_subtract", |a, b| {
        arithmetic(a, b, i64::checked_sub, |a, b| a - b)
    })?;
    binary(connection, "d_multiply", |a, b| {
        arithmetic(a, b, i64::checked_mul, |a, b| a * b)
    })?;
    // Division by zero has no integer and an infinite real result. Both become NULL.
    binary(connection, "d_divide", |a, b| {
        arithmetic(a, b, i64::checked_div, |a, b| a / b)
    })?;
    // SQLite's own LIKE ignores the case of ASCII letters, unlike PostgreSQL's.
    binary(connection, "d_like", |text, pattern| {
        match (text, pattern) {
            (ValueRef::Text(text), ValueRef::Text(pattern)) => {
                Value::Integer(like(&characters(text), &characters(pattern)).into())
            }
            _ => Value::Null,
        }
    })?;
    unary(connection, "d_negate", |x| {
        number(x, i64::checked_neg, |x| -x)
    })?;
    unary(connection, "d_abs", |x| {
        number(x, i64::checked_abs, f64::abs)
    })?;
    // PostgreSQL rounds a double precision number that lies in the middle to the even neighbour.
    unary(connection, "d_round", |x| {
        number(x, Some, f64::round_ties_even)
    })?;
    unary(connection, "d_floor", |x| number(x, Some, f64::floor))?;
    unary(connection, "d_ceil", |x| number(x, Some, f64::ceil))?;
    unary(connection, "d_integer", |x| match x {
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => {
            let rounded = value.round_ties_even();
            // 2^63 itself does not fit into an i64, but -2^63 does.
            let fits = rounded >= i64::MIN as f64 && rounded < -(i64::MIN as f64);
            if fits {
                Value::Integer(rounded as i64)
            } else {
                Value::Null
            }
        }
        _ => Value::Null,
    })?;
    // Length is in characters, as in PostgreSQL, not in bytes.
    unary(connection, "d_length", |x| {
        text(x, |t| Value::Integer(t.chars().count() as i64))
    })?;
    unary(connection, "d_lower", |x| {
        text(x, |t| Value::Text(t.to_lowercase()))
    })?;
    unary(connection, "d_upper", |x| {
        text(x, |t| Value::Text(t.to_uppercase()))
    })?;
    connection.create_aggregate_function("d_sum", 1, FLAGS, Total { mean: false })?;
    connection.create_aggregate_function("d_average", 1, FLAGS, Total { mean: true })
}

/// Returns a finite number as it is, and NULL for any other.
fn real(value: f64) -> Value {
    if value.is_finite() {
        Value::Real(value)
    } else {
        Value::Null
    }
}

fn integer(value: Option<i64>) -> Value {
    value.map_or(Value::Null, Value::Integer)
}

/// Applies an operation to two numbers. The query's types were checked, so that both operands have one type.
fn arithmetic(
    a: ValueRef<'_>,
    b: ValueRef<'_>,
    whole: fn(i64, i64) -> Option<i64>,
    fraction: fn(f64, f64) -> f64,
) -> Value {
    match (a, b) {
        (ValueRef::Integer(a), ValueRef::Integer(b)) => integer(whole(a, b)),
        (ValueRef::Real(a), ValueRef::Real(b)) => real(fraction(a, b)),
        _ => Value::Null,
    }
}

fn number(x: ValueRef<'_>, whole: fn(i64) -> Option<i64>, fraction: fn(f64) -> f64) -> Value {
    match x {
        ValueRef::Integer(x) => integer(whole(x)),
        ValueRef::Real(x) => real(fraction(x)),
        _ => Value::Null,
    }
}

fn text(x: ValueRef<'_>, f: fn(&str) -> Value) -> Value {
    x.as_str().map_or(Value::Null, f)
}

fn characters(bytes: &[u8]) -> Vec<char> {
    String::from_utf8_lossy(bytes).chars().collect()
}

/// Returns whether a text matches a pattern of LIKE: `%` stands for any text, `_` for any character, and a backslash
/// makes the next character literal.
///
/// Takes at most (text length) · (pattern length) steps, since only the last `%` is tried again.
fn like(text: &[char], pattern: &[char]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'%') {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        let (literal, wanted, width) = match (pattern.get(p), pattern.get(p + 1)) {
            (Some('\\'), Some(escaped)) => (true, Some(*escaped), 2),
            (first, _) => (false, first.copied(), 1),
        };
        let matches = match (wanted, text.get(t)) {
            (None, None) => return true,
            (Some('_'), Some(_)) if !literal => true,
            (wanted, found) => wanted.is_some() && wanted == found.copied(),
        };
        if matches {
            (t, p) = (t + 1, p + width);
            continue;
        }
        // Only the last `%` needs another try: what an earlier one could take in addition, the last one can take too.
        // Trying all of them would let a hostile pattern take exponential time.
        match retry {
            Some((after, from)) if from < text.len() => {
                retry = Some((after, from + 1));
                (t, p) = (from + 1, after);
            }
            _ => return false,
        }
    }
}

/// SUM or AVG over the values that are not NULL. Over integers it is exact.
struct Total {
    mean: bool,
}

#[derive(Default)]
struct Sum {
    count: u64,
    // Wider than i64, so that no intermediate sum overflows. Only the total must fit into an i64.
    whole: i128,
    fraction: f64,
    is_real: bool,
}

impl Aggregate<Sum, Value> for Total {
    fn init(&self, _: &mut Context<'_>) -> Result<Sum> {
        Ok(Sum::default())
    }

    fn step(&self, ctx: &mut Context<'_>, sum: &mut Sum) -> Result<()> {
        match ctx.get_raw(0) {
            ValueRef::Integer(value) => sum.whole += i128::from(value),
            ValueRef::Real(value) => {
                sum.fraction += value;
                sum.is_real = true;
            }
            _ => return Ok(()),
        }
        sum.count += 1;
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Sum>) -> Result<Value> {
        Ok(match sum {
            None | Some(Sum { count: 0, .. }) => Value::Null,
            Some(sum) => {
                let total = if sum.is_real {
                    sum.fraction
                } else {
                    sum.whole as f64
                };
                match (self.mean, sum.is_real) {
                    (true, _) => real(total / sum.count as f64),
                    (false, true) => real(total),
                    (false, false) => integer(i64::try_from(sum.whole).ok()),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_case_sensitive_and_escapes_with_a_backslash() {
        for (text, pattern, expected) in [
            ("male", "male", true),
            ("Male", "male", false),
            ("male", "m%", true),
            ("male", "%al%", true),
            ("male", "m__e", true),
            ("male", "m_e", false),
            ("", "%", true),
            ("", "_", false),
            ("", "", true),
            ("a", "", false),
            ("50%", "50\\%", true),
            ("500", "50\\%", false),
            ("a_b", "a\\_b", true),
            ("axb", "a\\_b", false),
            ("a\\", "a\\\\", true),
            ("mississippi", "%iss%ip%", true),
            ("mississippi", "%iss%ix%", false),
            ("é", "_", true),
        ] {
            let (t, p): (Vec<char>, Vec<char>) =
                (text.chars().collect(), pattern.chars().collect());
            assert_eq!(like(&t, &p), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let text: Vec<char> = "a".repeat(20_000).chars().collect();
        let pattern: Vec<char> = ("%a".repeat(100) + "b").chars().collect();
        assert!(!like(&text, &pattern));
    }
}
