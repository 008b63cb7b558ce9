//! Expressions with their types, and PostgreSQL's implicit conversions.

use super::error::{Position, SqlError};
use dispers_query::local::{Expr, Kind, Node, Typed};

/// An expression with its type and its position in the text.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) expr: Expr,
    pub(crate) typed: Typed,
    pub(crate) position: Option<Position>,
}

impl Bound {
    pub(super) fn leaf(
        node: Node,
        typed: Typed,
        position: Option<Position>,
    ) -> Result<Self, SqlError> {
        Ok(Self {
            expr: Expr::new(vec![node]).map_err(|e| too_large(position, &e.to_string()))?,
            typed,
            position,
        })
    }

    pub(super) fn literal(node: Node, position: Option<Position>) -> Result<Self, SqlError> {
        let typed = node.typed(&[], &[]).expect("a literal has a type");
        Self::leaf(node, typed, position)
    }

    /// Applies `node` to `operands`.
    ///
    /// # Errors
    /// If the types of `operands` do not fit `node`; implicit conversions must be done before.
    pub(super) fn apply(node: Node, operands: Vec<Self>) -> Result<Self, SqlError> {
        let position = operands.first().and_then(|o| o.position);
        let types: Vec<Typed> = operands.iter().map(|o| o.typed).collect();
        let typed = node.typed(&types, &[]).map_err(|e| {
            let kinds: Vec<&str> = types.iter().map(|t| t.kind.name()).collect();
            SqlError::new(
                position,
                format!("{e}, not {}", kinds.join(", ")),
                "convert with CAST(x AS INTEGER) or CAST(x AS REAL), or compare with = < > first",
            )
        })?;
        let exprs = operands.into_iter().map(|o| o.expr).collect();
        Ok(Self {
            expr: Expr::apply(node, exprs).map_err(|e| too_large(position, &e.to_string()))?,
            typed,
            position,
        })
    }

    /// Converts the expression to `kind` where PostgreSQL does so implicitly: an integer to a real, and a
    /// literal.
    pub(super) fn to(self, kind: Kind) -> Result<Self, SqlError> {
        let position = self.position;
        match (self.expr.nodes(), kind) {
            _ if self.typed.kind == kind => Ok(self),
            ([Node::Null(_)], _) => Self::literal(Node::Null(kind), position),
            ([Node::Integer(value)], Kind::Real) => {
                Self::literal(Node::Real(*value as f64), position)
            }
            ([Node::Text(text)], Kind::Integer | Kind::Real) => {
                let node = match kind {
                    Kind::Integer => text.trim().parse().ok().map(Node::Integer),
                    _ => text
                        .trim()
                        .parse()
                        .ok()
                        .filter(|v: &f64| v.is_finite())
                        .map(Node::Real),
                };
                let node = node.ok_or_else(|| {
                    SqlError::new(
                        position,
                        format!("'{text}' is not {}", kind.name()),
                        "compare a number with a number",
                    )
                })?;
                Self::literal(node, position)
            }
            _ if self.typed.kind == Kind::Integer && kind == Kind::Real => {
                Self::apply(Node::ToReal, vec![self])
            }
            _ => Err(SqlError::new(
                position,
                format!("{} where {} is needed", self.typed.kind.name(), kind.name()),
                "compare and compute with values of one type",
            )),
        }
    }

    /// Returns whether the expression is a literal that takes the type of its neighbours.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.expr.nodes(), [Node::Null(_) | Node::Text(_)])
    }
}

/// Converts all of `values` to the single type that PostgreSQL would choose.
pub(super) fn unify(values: Vec<Bound>) -> Result<Vec<Bound>, SqlError> {
    let decided = values.iter().filter(|v| !v.is_unknown());
    let kinds: Vec<Kind> = decided.map(|v| v.typed.kind).collect();
    let kind = match kinds.first() {
        None => Kind::Text,
        Some(Kind::Integer) if kinds.contains(&Kind::Real) => Kind::Real,
        Some(kind) => *kind,
    };
    values.into_iter().map(|value| value.to(kind)).collect()
}

/// Parses a number as an integer if possible, else as a real.
pub(super) fn numeric_literal(text: &str, position: Option<Position>) -> Result<Bound, SqlError> {
    if let Ok(value) = text.parse() {
        return Bound::literal(Node::Integer(value), position);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Bound::literal(Node::Real(value), position),
        _ => Err(SqlError::new(
            position,
            format!("{text} is not a number of 64 bits"),
            "write a smaller one",
        )),
    }
}

/// Returns the error for an expression that exceeds a bound.
pub(super) fn too_large(position: Option<Position>, what: &str) -> SqlError {
    SqlError::new(position, what, "write a shorter expression")
}
