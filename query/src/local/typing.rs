//! Types of expressions, and the places where NULL is possible.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use super::expr::{Arithmetic, Expr, Function, Node};
use crate::catalogue::FieldKind;

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Kind {
    /// True or false.
    Boolean,
    /// 64-bit signed integer.
    Integer,
    /// 64-bit floating point number.
    Real,
    /// UTF-8 text.
    Text,
}

impl Kind {
    /// Returns whether values of this type can be added up.
    pub fn is_numeric(self) -> bool {
        matches!(self, Self::Integer | Self::Real)
    }

    /// Returns the name of the type for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "true/false",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::Text => "text",
        }
    }
}

impl From<FieldKind> for Kind {
    fn from(kind: FieldKind) -> Self {
        match kind {
            FieldKind::Integer => Self::Integer,
            FieldKind::Real => Self::Real,
            FieldKind::Text => Self::Text,
        }
    }
}

/// Type of an expression, and whether its values may be NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typed {
    /// Type of the values.
    pub kind: Kind,
    /// True if the values may be NULL. An overflow does not count: the home then has no row.
    pub nullable: bool,
    /// True if the expression is a literal other than zero, so that a division by it is never NULL.
    nonzero: bool,
}

impl Typed {
    /// Makes the type of values of `kind`.
    pub fn new(kind: Kind, nullable: bool) -> Self {
        Self {
            kind,
            nullable,
            nonzero: false,
        }
    }

    /// Makes the type of a literal.
    fn literal(kind: Kind, nonzero: bool) -> Self {
        Self {
            kind,
            nullable: false,
            nonzero,
        }
    }
}

/// Error for an operator over operands of types that it does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(pub &'static str);

impl Node {
    /// Returns the type of the node over operands of these types, in a row with these columns.
    ///
    /// # Errors
    /// [`Mismatch`] if the node does not take these operands, or its column does not exist.
    pub fn typed(&self, operands: &[Typed], columns: &[Typed]) -> Result<Typed, Mismatch> {
        let nullable = operands.iter().any(|o| o.nullable);
        let first = operands.first().map(|o| o.kind);
        let same = operands.iter().all(|o| Some(o.kind) == first);
        match self {
            Self::Null(kind) => Ok(Typed::new(*kind, true)),
            Self::Boolean(_) => Ok(Typed::literal(Kind::Boolean, false)),
            Self::Integer(value) => Ok(Typed::literal(Kind::Integer, *value != 0)),
            Self::Real(value) => Ok(Typed::literal(Kind::Real, *value != 0.0)),
            Self::Text(_) => Ok(Typed::literal(Kind::Text, false)),
            Self::Column(index) => columns
                .get(usize::from(*index))
                .copied()
                .ok_or(Mismatch("a column that does not exist")),
            Self::ToReal if first == Some(Kind::Integer) => Ok(Typed {
                kind: Kind::Real,
                ..operands[0]
            }),
            Self::ToReal => Err(Mismatch("only an integer becomes a real number")),
            Self::ToInteger => match first {
                Some(Kind::Real | Kind::Boolean) => Ok(Typed::new(Kind::Integer, nullable)),
                _ => Err(Mismatch(
                    "only a real number or truth value becomes an integer",
                )),
            },
            Self::Negate => match first {
                Some(kind) if kind.is_numeric() => Ok(Typed::new(kind, nullable)),
                _ => Err(Mismatch("unary minus takes a number")),
            },
            Self::Arithmetic(operation) => match first {
                Some(kind) if kind.is_numeric() && same => {
                    let safe = *operation != Arithmetic::Divide || operands[1].nonzero;
                    Ok(Typed::new(kind, nullable || !safe))
                }
                _ => Err(Mismatch("+, -, * and / take numbers")),
            },
            Self::Compare(_) | Self::In(_) | Self::Between if same => {
                Ok(Typed::new(Kind::Boolean, nullable))
            }
            Self::Compare(_) | Self::In(_) | Self::Between => {
                Err(Mismatch("only values of one type can be compared"))
            }
            Self::Not | Self::And(_) | Self::Or(_) if all_of(Kind::Boolean, operands) => {
                Ok(Typed::new(Kind::Boolean, nullable))
            }
            Self::Not | Self::And(_) | Self::Or(_) => {
                Err(Mismatch("AND, OR and NOT take conditions"))
            }
            Self::IsNull => Ok(Typed::new(Kind::Boolean, false)),
            Self::Like if all_of(Kind::Text, operands) => Ok(Typed::new(Kind::Boolean, nullable)),
            Self::Like => Err(Mismatch("LIKE takes texts")),
            Self::Case { whens, otherwise } => {
                let (pairs, rest) = operands.split_at(2 * usize::from(*whens));
                // Pairs of condition and result alternate; the ELSE, if any, follows as the only rest.
                let conditions = pairs.iter().step_by(2);
                let results: Vec<&Typed> = pairs.iter().skip(1).step_by(2).chain(rest).collect();
                if conditions.into_iter().any(|c| c.kind != Kind::Boolean) {
                    return Err(Mismatch("WHEN takes a condition"));
                }
                match results.first().map(|r| r.kind) {
                    Some(kind) if results.iter().all(|r| r.kind == kind) => Ok(Typed::new(
                        kind,
                        !otherwise || results.iter().any(|r| r.nullable),
                    )),
                    _ => Err(Mismatch("the results of CASE must be of one type")),
                }
            }
            Self::Coalesce(_) => match first {
                Some(kind) if same => Ok(Typed::new(kind, operands.iter().all(|o| o.nullable))),
                _ => Err(Mismatch("COALESCE takes values of one type")),
            },
            Self::NullIf => match first {
                Some(kind) if same => Ok(Typed::new(kind, true)),
                _ => Err(Mismatch("NULLIF takes values of one type")),
            },
            Self::Function(function) => match (function, first) {
                (Function::Abs, Some(kind)) if kind.is_numeric() => Ok(Typed::new(kind, nullable)),
                (Function::Abs, _) => Err(Mismatch("ABS takes a number")),
                (Function::Round | Function::Floor | Function::Ceil, Some(Kind::Real)) => {
                    Ok(Typed::new(Kind::Real, nullable))
                }
                (Function::Round | Function::Floor | Function::Ceil, _) => {
                    Err(Mismatch("ROUND, FLOOR and CEIL take a number"))
                }
                (Function::Length, Some(Kind::Text)) => Ok(Typed::new(Kind::Integer, nullable)),
                (Function::Lower | Function::Upper, Some(Kind::Text)) => {
                    Ok(Typed::new(Kind::Text, nullable))
                }
                (Function::Length | Function::Lower | Function::Upper, _) => {
                    Err(Mismatch("LENGTH, LOWER and UPPER take a text"))
                }
            },
        }
    }
}

impl Expr {
    /// Returns the type of the expression in a row with these columns.
    ///
    /// # Errors
    /// [`Mismatch`] at the first operator that does not take its operands.
    pub fn typed(&self, columns: &[Typed]) -> Result<Typed, Mismatch> {
        self.try_fold(|node, operands: Vec<Typed>| node.typed(&operands, columns))
    }

    /// Returns the columns that are not NULL wherever this condition is true.
    pub fn non_null_where_true(&self) -> BTreeSet<u16> {
        self.fold(Rejects::of).truth
    }
}

/// Columns whose NULL decides something about an expression: in `value` that it is NULL, in `truth` that it is not
/// true, in `falsity` that it is not false.
#[derive(Default, Clone)]
struct Rejects {
    value: BTreeSet<u16>,
    truth: BTreeSet<u16>,
    falsity: BTreeSet<u16>,
}

impl Rejects {
    fn strict(value: BTreeSet<u16>) -> Self {
        Self {
            truth: value.clone(),
            falsity: value.clone(),
            value,
        }
    }

    fn of(node: &Node, operands: Vec<Self>) -> Self {
        match node {
            Node::Column(index) => Self::strict([*index].into()),
            Node::ToReal
            | Node::ToInteger
            | Node::Negate
            | Node::Arithmetic(_)
            | Node::Compare(_)
            | Node::Like
            | Node::Function(_) => Self::strict(union(&operands, |o| &o.value)),
            // Despite a NULL among the other operands the result may be decided: 5 is not between 6 and NULL.
            Node::Between | Node::In(_) => Self::strict(operands[0].value.clone()),
            // NOT is true where its operand is false.
            Node::Not => Self {
                value: operands[0].value.clone(),
                truth: operands[0].falsity.clone(),
                falsity: operands[0].truth.clone(),
            },
            Node::IsNull => Self {
                falsity: operands[0].value.clone(),
                ..Self::default()
            },
            // A conjunction is true only if all operands are, so a column that rejects one of them rejects the whole.
            // It is false if any operand is, so only a column that all operands reject does. OR is the mirror image.
            Node::And(_) => Self {
                truth: union(&operands, |o| &o.truth),
                falsity: intersection(&operands, |o| &o.falsity),
                ..Self::default()
            },
            Node::Or(_) => Self {
                truth: intersection(&operands, |o| &o.truth),
                falsity: union(&operands, |o| &o.falsity),
                ..Self::default()
            },
            Node::Null(_)
            | Node::Boolean(_)
            | Node::Integer(_)
            | Node::Real(_)
            | Node::Text(_)
            | Node::Case { .. }
            | Node::Coalesce(_)
            | Node::NullIf => Self::default(),
        }
    }
}

/// Returns whether all operands have the type `kind`.
fn all_of(kind: Kind, operands: &[Typed]) -> bool {
    operands.iter().all(|o| o.kind == kind)
}

/// Returns the columns that are in the chosen set of any operand.
fn union(operands: &[Rejects], set: fn(&Rejects) -> &BTreeSet<u16>) -> BTreeSet<u16> {
    operands
        .iter()
        .flat_map(|o| set(o).iter().copied())
        .collect()
}

/// Returns the columns that are in the chosen set of every operand.
fn intersection(operands: &[Rejects], set: fn(&Rejects) -> &BTreeSet<u16>) -> BTreeSet<u16> {
    let sets = operands.iter().map(|o| set(o).clone());
    sets.reduce(|a, b| &a & &b).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::expr::Comparison;
    use super::*;

    fn typed(nodes: Vec<Node>) -> Result<(Kind, bool), Mismatch> {
        let columns = [
            Typed::new(Kind::Integer, false),
            Typed::new(Kind::Real, true),
        ];
        let typed = Expr::new(nodes).unwrap().typed(&columns)?;
        Ok((typed.kind, typed.nullable))
    }

    #[test]
    fn null_is_possible_only_where_it_is() {
        let divide = || Node::Arithmetic(Arithmetic::Divide);
        assert_eq!(typed(vec![Node::Column(0)]), Ok((Kind::Integer, false)));
        assert_eq!(typed(vec![Node::Column(1)]), Ok((Kind::Real, true)));
        assert_eq!(
            typed(vec![Node::Column(0), Node::Integer(2), divide()]),
            Ok((Kind::Integer, false))
        );
        assert_eq!(
            typed(vec![Node::Column(0), Node::Integer(0), divide()]),
            Ok((Kind::Integer, true))
        );
        assert_eq!(
            typed(vec![Node::Column(1), Node::Real(0.0), Node::Coalesce(2)]),
            Ok((Kind::Real, false))
        );
        let case = |otherwise| Node::Case {
            whens: 1,
            otherwise,
        };
        let (yes, one) = (Node::Boolean(true), Node::Integer(1));
        assert_eq!(
            typed(vec![yes.clone(), one.clone(), case(false)]),
            Ok((Kind::Integer, true))
        );
        assert_eq!(
            typed(vec![yes, one.clone(), one, case(true)]),
            Ok((Kind::Integer, false))
        );
    }

    #[test]
    fn operators_take_only_their_types() {
        let text = || Node::Text("a".into());
        for nodes in [
            vec![Node::Column(2)],
            vec![
                Node::Column(0),
                Node::Column(1),
                Node::Arithmetic(Arithmetic::Add),
            ],
            vec![Node::Column(0), text(), Node::Compare(Comparison::Less)],
            vec![Node::Column(0), Node::Not],
            vec![Node::Column(0), text(), Node::Like],
            vec![text(), Node::Negate],
            vec![text(), Node::ToReal],
            vec![text(), Node::ToInteger],
            vec![Node::Column(0), Node::Function(Function::Round)],
            vec![Node::Column(0), Node::Function(Function::Lower)],
            vec![text(), Node::Function(Function::Abs)],
            vec![Node::Column(0), text(), Node::Coalesce(2)],
            vec![Node::Column(0), text(), Node::NullIf],
            vec![Node::Column(0), text(), Node::In(1)],
            vec![
                text(),
                text(),
                Node::Case {
                    whens: 1,
                    otherwise: false,
                },
            ],
        ] {
            assert!(typed(nodes).is_err());
        }
    }

    #[test]
    fn a_condition_tells_which_columns_are_not_null() {
        let columns = |nodes| {
            let known = Expr::new(nodes).unwrap().non_null_where_true();
            known.into_iter().collect::<Vec<_>>()
        };
        let less = || Node::Compare(Comparison::Less);
        let (a, b, one) = (|| Node::Column(0), || Node::Column(1), || Node::Integer(1));
        assert_eq!(columns(vec![a(), one(), less()]), [0]);
        assert_eq!(columns(vec![a(), Node::IsNull, Node::Not]), [0]);
        assert!(columns(vec![a(), Node::IsNull]).is_empty());
        let both = [a(), one(), less(), b(), one(), less()];
        let with = |end| both.iter().cloned().chain(end).collect::<Vec<_>>();
        assert_eq!(columns(with(vec![Node::And(2)])), [0, 1]);
        assert!(columns(with(vec![Node::Or(2)])).is_empty());
        assert_eq!(columns(with(vec![Node::Or(2), Node::Not])), [0, 1]);
        assert!(columns(with(vec![Node::And(2), Node::Not])).is_empty());
        assert_eq!(
            columns(vec![a(), b(), Node::Coalesce(2), one(), less()]),
            [0; 0]
        );
        assert!(columns(vec![one(), a(), b(), Node::Between]).is_empty());
    }
}
