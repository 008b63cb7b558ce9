//! Expressions of the grammar, with a text for the system and a meaning of their own. The meaning is PostgreSQL's,
//! except that a division by zero inside a home is NULL.

use std::{collections::BTreeMap, fmt};

/// Row: numbers and texts by column. It has no entry for a column that is NULL.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) integers: BTreeMap<String, i64>,
    pub(super) reals: BTreeMap<String, f64>,
    pub(super) texts: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub(super) enum Integer {
    Column(String),
    Literal(i64),
    Binary(&'static str, Box<Integer>, Box<Integer>),
    Negated(Box<Integer>),
    Abs(Box<Integer>),
    Length(Box<Text>),
    Coalesce(Box<Integer>, Box<Integer>),
    NullIf(Box<Integer>, Box<Integer>),
    Case(Box<Condition>, Box<Integer>, Option<Box<Integer>>),
}

/// Expression of numbers that are all multiples of a half.
#[derive(Debug, Clone)]
pub(super) enum Real {
    Column(String),
    Halves(i64),
    Binary(&'static str, Box<Real>, Box<Real>),
    Rounded(&'static str, Box<Real>),
    Coalesce(Box<Real>, Box<Real>),
    Case(Box<Condition>, Box<Real>, Option<Box<Real>>),
}

#[derive(Debug, Clone)]
pub(super) enum Text {
    Column(String),
    Literal(&'static str),
    Cased(&'static str, Box<Text>),
    Coalesce(Box<Text>, Box<Text>),
    Case(Box<Condition>, Box<Text>, Option<Box<Text>>),
}

#[derive(Debug, Clone)]
pub(super) enum Condition {
    Integers(&'static str, Integer, Integer),
    Reals(&'static str, Real, Real),
    Texts(&'static str, Text, Text),
    IsNull(Operand, bool),
    In(Integer, Vec<i64>, bool),
    Between(Integer, i64, i64, bool),
    Like(Text, &'static str, bool),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Integer(Integer),
    Real(Real),
    Text(Text),
}

fn case<T: Clone>(
    condition: &Condition,
    row: &Row,
    then: impl Fn() -> Option<T>,
    otherwise: Option<impl Fn() -> Option<T>>,
) -> Option<T> {
    match (condition.of(row), otherwise) {
        (Some(true), _) => then(),
        (_, Some(otherwise)) => otherwise(),
        (_, None) => None,
    }
}

impl Integer {
    pub(super) fn of(&self, row: &Row) -> Option<i64> {
        match self {
            Self::Column(name) => row.integers.get(name).copied(),
            Self::Literal(value) => Some(*value),
            Self::Binary(operator, a, b) => {
                let (a, b) = (a.of(row)?, b.of(row)?);
                match *operator {
                    "+" => Some(a + b),
                    "-" => Some(a - b),
                    "*" => Some(a * b),
                    // Integer division rounds towards zero.
                    _ => a.checked_div(b),
                }
            }
            Self::Negated(a) => Some(-a.of(row)?),
            Self::Abs(a) => Some(a.of(row)?.abs()),
            Self::Length(text) => Some(text.of(row)?.chars().count() as i64),
            Self::Coalesce(a, b) => a.of(row).or_else(|| b.of(row)),
            Self::NullIf(a, b) => a.of(row).filter(|a| b.of(row) != Some(*a)),
            Self::Case(condition, a, b) => {
                let otherwise = b.as_ref().map(|b| || b.of(row));
                case(condition, row, || a.of(row), otherwise)
            }
        }
    }
}

impl Real {
    pub(super) fn of(&self, row: &Row) -> Option<f64> {
        match self {
            Self::Column(name) => row.reals.get(name).copied(),
            Self::Halves(halves) => Some(*halves as f64 / 2.0),
            Self::Binary(operator, a, b) => {
                let (a, b) = (a.of(row)?, b.of(row)?);
                Some(if *operator == "+" { a + b } else { a - b })
            }
            Self::Rounded(function, a) => {
                let a = a.of(row)?;
                Some(match *function {
                    "FLOOR" => a.floor(),
                    "CEIL" => a.ceil(),
                    _ => a.abs(),
                })
            }
            Self::Coalesce(a, b) => a.of(row).or_else(|| b.of(row)),
            Self::Case(condition, a, b) => {
                let otherwise = b.as_ref().map(|b| || b.of(row));
                case(condition, row, || a.of(row), otherwise)
            }
        }
    }
}

impl Text {
    pub(super) fn of(&self, row: &Row) -> Option<String> {
        match self {
            Self::Column(name) => row.texts.get(name).cloned(),
            Self::Literal(value) => Some((*value).to_owned()),
            Self::Cased(function, a) => {
                let a = a.of(row)?;
                Some(match *function {
                    "UPPER" => a.to_uppercase(),
                    _ => a.to_lowercase(),
                })
            }
            Self::Coalesce(a, b) => a.of(row).or_else(|| b.of(row)),
            Self::Case(condition, a, b) => {
                let otherwise = b.as_ref().map(|b| || b.of(row));
                case(condition, row, || a.of(row), otherwise)
            }
        }
    }
}

impl Condition {
    /// Evaluates the condition to true, false, or NULL.
    pub(super) fn of(&self, row: &Row) -> Option<bool> {
        fn compare<T: PartialOrd>(operator: &str, a: T, b: T) -> bool {
            match operator {
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                ">=" => a >= b,
                "=" => a == b,
                _ => a != b,
            }
        }
        match self {
            Self::Integers(operator, a, b) => Some(compare(operator, a.of(row)?, b.of(row)?)),
            Self::Reals(operator, a, b) => Some(compare(operator, a.of(row)?, b.of(row)?)),
            Self::Texts(operator, a, b) => Some(compare(operator, a.of(row)?, b.of(row)?)),
            Self::IsNull(operand, negated) => {
                let null = match operand {
                    Operand::Integer(a) => a.of(row).is_none(),
                    Operand::Real(a) => a.of(row).is_none(),
                    Operand::Text(a) => a.of(row).is_none(),
                };
                Some(null != *negated)
            }
            Self::In(a, list, negated) => Some(list.contains(&a.of(row)?) != *negated),
            Self::Between(a, low, high, negated) => {
                Some((*low..=*high).contains(&a.of(row)?) != *negated)
            }
            Self::Like(a, pattern, negated) => {
                let text: Vec<char> = a.of(row)?.chars().collect();
                let pattern: Vec<char> = pattern.chars().collect();
                Some(like(&text, &pattern) != *negated)
            }
            Self::And(a, b) => match (a.of(row), b.of(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.of(row), b.of(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(a) => Some(!a.of(row)?),
        }
    }
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skipped| like(&text[skipped..], rest)),
        Some(('_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((letter, rest)) => text.first() == Some(letter) && like(&text[1..], rest),
    }
}

fn write_case<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    condition: &Condition,
    then: &T,
    otherwise: Option<&T>,
) -> fmt::Result {
    write!(f, "CASE WHEN {condition} THEN {then}")?;
    if let Some(otherwise) = otherwise {
        write!(f, " ELSE {otherwise}")?;
    }
    f.write_str(" END")
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => f.write_str(name),
            Self::Literal(value) if *value < 0 => write!(f, "({value})"),
            Self::Literal(value) => write!(f, "{value}"),
            Self::Binary(operator, a, b) => write!(f, "({a} {operator} {b})"),
            Self::Negated(a) => write!(f, "(- {a})"),
            Self::Abs(a) => write!(f, "ABS({a})"),
            Self::Length(a) => write!(f, "LENGTH({a})"),
            Self::Coalesce(a, b) => write!(f, "COALESCE({a}, {b})"),
            Self::NullIf(a, b) => write!(f, "NULLIF({a}, {b})"),
            Self::Case(condition, a, b) => write_case(f, condition, a, b.as_ref()),
        }
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => f.write_str(name),
            Self::Halves(halves) => write!(f, "({:.1})", *halves as f64 / 2.0),
            Self::Binary(operator, a, b) => write!(f, "({a} {operator} {b})"),
            Self::Rounded(function, a) => write!(f, "{function}({a})"),
            Self::Coalesce(a, b) => write!(f, "COALESCE({a}, {b})"),
            Self::Case(condition, a, b) => write_case(f, condition, a, b.as_ref()),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => f.write_str(name),
            Self::Literal(value) => write!(f, "'{value}'"),
            Self::Cased(function, a) => write!(f, "{function}({a})"),
            Self::Coalesce(a, b) => write!(f, "COALESCE({a}, {b})"),
            Self::Case(condition, a, b) => write_case(f, condition, a, b.as_ref()),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(a) => a.fmt(f),
            Self::Real(a) => a.fmt(f),
            Self::Text(a) => a.fmt(f),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self {
            Self::Integers(operator, a, b) => write!(f, "({a} {operator} {b})"),
            Self::Reals(operator, a, b) => write!(f, "({a} {operator} {b})"),
            Self::Texts(operator, a, b) => write!(f, "({a} {operator} {b})"),
            Self::IsNull(a, negated) => write!(f, "({a} IS {}NULL)", not(negated)),
            Self::In(a, list, negated) => {
                let list: Vec<String> = list.iter().map(i64::to_string).collect();
                write!(f, "({a} {}IN ({}))", not(negated), list.join(", "))
            }
            Self::Between(a, low, high, negated) => {
                write!(f, "({a} {}BETWEEN {low} AND {high})", not(negated))
            }
            Self::Like(a, pattern, negated) => write!(f, "({a} {}LIKE '{pattern}')", not(negated)),
            Self::And(a, b) => write!(f, "({a} AND {b})"),
            Self::Or(a, b) => write!(f, "({a} OR {b})"),
            Self::Not(a) => write!(f, "(NOT {a})"),
        }
    }
}
