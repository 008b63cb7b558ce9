//! Facts about the homes behind a count, which follow from the expressions of the query (protocol.md §9).
//!
//! Counts of one result may include each other: `COUNT(x) FILTER (WHERE c)` is part of `COUNT(x)`, and `FILTER (WHERE
//! age < 40)` and `FILTER (WHERE age >= 40)` share no home. Aggregators must know this, since the difference of two
//! such counts is a count of people too. The expressions of the public local query show these facts. If this code
//! misses a fact, aggregators withhold less than they should; the released numbers are right all the same.

use super::{Comparison, LocalQuery, Node};

/// Fact that holds for every home behind a count.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The variable is not NULL.
    Present(u16),
    /// The variable's level is at least the second and at most the third number.
    Level(u16, u64, u64),
    /// The expression is not NULL if the flag is true, and NULL if it is false.
    NotNull(Vec<Node>, bool),
    /// The condition is true if the flag is true, and false if it is false. It is not NULL.
    Holds(Vec<Node>, bool),
    /// The expression is a number between two ends. The flag of an end is true if the range includes it.
    Within(Vec<Node>, (f64, bool), (f64, bool)),
    /// The expression has one of the listed texts or truth values.
    OneOf(Vec<Node>, Vec<Node>),
}

impl Fact {
    /// Returns whether `other` follows from this fact.
    pub fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Level(one, low, high), Self::Level(other, least, most)) => {
                one == other && least <= low && high <= most
            }
            (Self::Within(one, low, high), Self::Within(other, least, most)) => {
                one == other && !beyond(*least, *low) && !beyond(flip(*most), flip(*high))
            }
            (Self::OneOf(one, values), Self::OneOf(other, among)) => {
                one == other && values.iter().all(|value| among.contains(value))
            }
            _ => self == other,
        }
    }

    /// Returns whether no home can have both facts.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Level(one, low, high), Self::Level(other, least, most)) => {
                one == other && (high < least || most < low)
            }
            (Self::NotNull(one, yes), Self::NotNull(other, also))
            | (Self::Holds(one, yes), Self::Holds(other, also)) => one == other && yes != also,
            (Self::Within(one, low, high), Self::Within(other, least, most)) => {
                one == other && (apart(*high, *least) || apart(*most, *low))
            }
            (Self::OneOf(one, values), Self::OneOf(other, among)) => {
                one == other && !values.iter().any(|value| among.contains(value))
            }
            _ => false,
        }
    }
}

/// Returns whether the lower end `end` excludes part of a range that begins at `begin`.
fn beyond(end: (f64, bool), begin: (f64, bool)) -> bool {
    end.0 > begin.0 || end.0 == begin.0 && !end.1 && begin.1
}

/// Returns the upper end of a range as the lower end of the range mirrored at 0, so that one function compares both
/// kinds of ends.
fn flip((end, inside): (f64, bool)) -> (f64, bool) {
    (-end, inside)
}

/// Returns whether a range that ends at `high` shares nothing with one that begins at `low`.
fn apart(high: (f64, bool), low: (f64, bool)) -> bool {
    high.0 < low.0 || high.0 == low.0 && !(high.1 && low.1)
}

/// Facts about the homes for which a condition on one variable is true.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// Facts that together hold exactly where the condition is true.
    pub exactly: Vec<Fact>,
    /// Facts that hold wherever the condition is true, including those of `exactly`.
    pub follows: Vec<Fact>,
}

/// Facts for each variable: where it is not NULL, and where it has the upper of two levels.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    present: Vec<Text>,
    upper: Vec<Text>,
}

impl Facts {
    /// Returns the facts about homes where `variable` is not NULL.
    pub fn present(&self, variable: u16) -> Option<&Text> {
        self.present.get(usize::from(variable))
    }

    /// Returns the facts about homes where `variable`, which has two levels, has the upper level.
    pub fn upper(&self, variable: u16) -> Option<&Text> {
        self.upper.get(usize::from(variable))
    }
}

impl LocalQuery {
    /// Collects the facts that the expressions of the measures show.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for measure in &self.measures {
            let nodes = measure.expr.nodes();
            let mut present = Text::default();
            not_null(nodes, &mut present);
            let mut upper = present.clone();
            if let Some(grid) = measure.quantiser.filter(|grid| grid.max() == 1) {
                above(nodes, f64::midpoint(grid.lo(), grid.hi()), &mut upper);
            }
            facts.present.push(present);
            facts.upper.push(upper);
        }
        facts
    }
}

/// Returns the operands of the last node, in order.
fn operands(nodes: &[Node]) -> Vec<&[Node]> {
    let Some((last, mut rest)) = nodes.split_last() else {
        return Vec::new();
    };
    // In postfix order the last operand ends just before the node. Walking backwards, an operand begins where no node
    // is missing any more.
    let mut operands = Vec::with_capacity(last.arity());
    for _ in 0..last.arity() {
        let mut needed = 1;
        let mut start = rest.len();
        while needed > 0 && start > 0 {
            start -= 1;
            needed = needed - 1 + rest[start].arity();
        }
        let (before, operand) = rest.split_at(start);
        operands.push(operand);
        rest = before;
    }
    operands.reverse();
    operands
}

impl Text {
    fn exact(&mut self, fact: Fact) {
        self.exactly.push(fact.clone());
        self.follows.push(fact);
    }
}

/// Adds the facts that hold where the expression is not NULL.
fn not_null(nodes: &[Node], text: &mut Text) {
    let operands = operands(nodes);
    match (nodes.last(), operands.as_slice()) {
        // `COUNT(x) FILTER (WHERE c)` is a CASE without ELSE: it has a value where c is true and x is not NULL.
        (
            Some(Node::Case {
                whens: 1,
                otherwise: false,
            }),
            [condition, value],
        ) => {
            holds(condition, true, text);
            not_null(value, text);
        }
        // A literal and IS NULL are never NULL, so nothing follows.
        (
            None
            | Some(
                Node::Boolean(_) | Node::Integer(_) | Node::Real(_) | Node::Text(_) | Node::IsNull,
            ),
            _,
        ) => {}
        (Some(_), _) => {
            text.exactly.push(Fact::NotNull(nodes.to_vec(), true));
            needs(nodes, &mut text.follows);
        }
    }
}

/// Adds the expressions that are not NULL wherever the given expression is not NULL.
fn needs(nodes: &[Node], facts: &mut Vec<Fact>) {
    let Some(last) = nodes.last() else {
        return;
    };
    if matches!(
        last,
        Node::Boolean(_) | Node::Integer(_) | Node::Real(_) | Node::Text(_)
    ) {
        return;
    }
    facts.push(Fact::NotNull(nodes.to_vec(), true));
    let operands = operands(nodes);
    // Only operands whose NULL always makes the node NULL count. AND, OR, CASE and COALESCE may have a value although
    // an operand is NULL, and so may BETWEEN, and IN for a NULL in its list.
    let strict = match last {
        Node::ToReal
        | Node::ToInteger
        | Node::Negate
        | Node::Not
        | Node::Arithmetic(_)
        | Node::Compare(_)
        | Node::Like
        | Node::Function(_) => operands.len(),
        Node::In(_) => 1,
        _ => 0,
    };
    operands[..strict]
        .iter()
        .for_each(|operand| needs(operand, facts));
}

/// Adds the facts that hold where the condition is true if `yes`, and where it is false otherwise.
fn holds(nodes: &[Node], yes: bool, text: &mut Text) {
    let operands = operands(nodes);
    match (nodes.last(), operands.as_slice()) {
        (Some(Node::Not), [condition]) => holds(condition, !yes, text),
        (Some(Node::IsNull), [value]) => {
            text.exact(Fact::NotNull(value.to_vec(), !yes));
            if !yes {
                needs(value, &mut text.follows);
            }
        }
        (Some(Node::And(_)), all) if yes => {
            text.follows.push(Fact::Holds(nodes.to_vec(), yes));
            all.iter().for_each(|one| holds(one, true, text));
        }
        (Some(Node::Or(_)), all) if !yes => {
            text.follows.push(Fact::Holds(nodes.to_vec(), yes));
            all.iter().for_each(|one| holds(one, false, text));
        }
        (Some(last), operands) => {
            let whole = Fact::Holds(nodes.to_vec(), yes);
            text.follows.push(whole.clone());
            needs(nodes, &mut text.follows);
            let mut exact = match (last, operands) {
                (Node::Compare(comparison), [one, other]) => compared(one, *comparison, other, yes)
                    .or_else(|| compared(other, mirrored(*comparison), one, yes))
                    .map(|fact| vec![fact]),
                (Node::Between, [value, low, high]) if yes => {
                    let low = compared(value, Comparison::GreaterOrEqual, low, true);
                    let high = compared(value, Comparison::LessOrEqual, high, true);
                    low.zip(high).map(|(low, high)| vec![low, high])
                }
                (Node::In(_), [value, list @ ..]) if yes => {
                    // For numbers this is the range of the list, which has more values than the list: it is not exact.
                    if let Some(fact) = one_of(value, list) {
                        text.follows.push(fact);
                    }
                    None
                }
                _ => None,
            };
            text.follows.extend(exact.iter().flatten().cloned());
            // Without a fact about a value, the condition itself is the exact fact.
            text.exactly.append(exact.get_or_insert(vec![whole]));
        }
        (None, _) => {}
    }
}

/// Returns the fact that a comparison of an expression with a literal states, or its negation if not `yes`. Returns
/// `None` if `with` is not a literal, or if no single range states the same.
fn compared(nodes: &[Node], comparison: Comparison, with: &[Node], yes: bool) -> Option<Fact> {
    let [literal] = with else { return None };
    let comparison = if yes { comparison } else { negated(comparison) };
    let all = (f64::INFINITY, true);
    let Some(value) = number(literal) else {
        let equal = comparison == Comparison::Equal;
        return one_of(nodes, &[with]).filter(|_| equal);
    };
    let nodes = nodes.to_vec();
    let (low, high) = match comparison {
        Comparison::Equal => ((value, true), (value, true)),
        Comparison::Less => (flip(all), (value, false)),
        Comparison::LessOrEqual => (flip(all), (value, true)),
        Comparison::Greater => ((value, false), all),
        Comparison::GreaterOrEqual => ((value, true), all),
        Comparison::NotEqual => return None,
    };
    Some(Fact::Within(nodes, low, high))
}

/// Returns the fact about an expression that equals one of some literals: a set of texts or truth values, or the range
/// from the smallest to the largest number. Returns `None` for literals of another kind.
fn one_of(nodes: &[Node], literals: &[&[Node]]) -> Option<Fact> {
    let values: Option<Vec<Node>> = literals
        .iter()
        .map(|literal| match literal {
            [one] => Some(one.clone()),
            _ => None,
        })
        .collect();
    let values = values?;
    let numbers: Option<Vec<f64>> = values.iter().map(number).collect();
    if let Some(numbers) = numbers {
        let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        return Some(Fact::Within(nodes.to_vec(), (low, true), (high, true)));
    }
    let all = values
        .iter()
        .all(|value| matches!(value, Node::Text(_) | Node::Boolean(_)));
    all.then(|| Fact::OneOf(nodes.to_vec(), values))
}

/// Adds the facts that hold where a number with two levels has the upper level: it is at least `middle`.
fn above(nodes: &[Node], middle: f64, text: &mut Text) {
    let operands = operands(nodes);
    match (nodes.last(), operands.as_slice()) {
        (
            Some(Node::Case {
                whens: 1,
                otherwise: false,
            }),
            [_, value],
        ) => above(value, middle, text),
        (
            Some(Node::Case {
                whens: 1,
                otherwise: true,
            }),
            [condition, [one], [other]],
        ) if is_high(one, middle) == Some(true) && is_high(other, middle) == Some(false) => {
            holds(condition, true, text);
        }
        // A condition as an integer is exactly 0 or 1. A real number as an integer is rounded, so its range would
        // differ.
        (Some(Node::ToInteger), [value]) if is_condition(value) => holds(value, true, text),
        (Some(Node::ToReal), [value]) => above(value, middle, text),
        _ => text.exact(Fact::Within(
            nodes.to_vec(),
            (middle, true),
            (f64::INFINITY, true),
        )),
    }
}

/// Returns whether a number is at least `middle`; `None` if the literal is no number.
fn is_high(literal: &Node, middle: f64) -> Option<bool> {
    number(literal).map(|value| value >= middle)
}

fn is_condition(nodes: &[Node]) -> bool {
    matches!(
        nodes.last(),
        Some(
            Node::Boolean(_)
                | Node::Compare(_)
                | Node::Not
                | Node::And(_)
                | Node::Or(_)
                | Node::IsNull
                | Node::In(_)
                | Node::Between
                | Node::Like
        )
    )
}

fn number(literal: &Node) -> Option<f64> {
    match literal {
        // A floating-point number does not represent every integer beyond 2^53, so a comparison could be wrong.
        Node::Integer(value) if value.unsigned_abs() <= 1 << 53 => Some(*value as f64),
        Node::Real(value) => Some(*value),
        _ => None,
    }
}

fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

fn negated(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}
