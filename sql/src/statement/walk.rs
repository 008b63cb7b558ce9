//! Walks over parsed expressions. They do not recurse along chains such as `a + b + …`, whose depth grows
//! with their length.

use sqlparser::ast::{BinaryOperator, Expr as Ast};

use super::error::Position;

/// Returns the operands of a chain of one operator, from left to right, without recursion along the chain.
pub(super) fn chained<'a>(ast: &'a Ast, op: &BinaryOperator) -> Vec<&'a Ast> {
    let mut parts = Vec::new();
    let mut rest = ast;
    while let Ast::BinaryOp {
        left,
        op: found,
        right,
    } = rest
    {
        if found != op {
            break;
        }
        parts.push(&**right);
        rest = left;
    }
    parts.push(rest);
    // The parser nests a chain to the left, so the loop found its operands from right to left.
    parts.reverse();
    parts
}

/// Returns the position where an expression starts, if it is known, without recursion.
pub(super) fn position_of(ast: &Ast) -> Option<Position> {
    let mut rest = ast;
    loop {
        // An operator expression has no span of its own. It starts where its leftmost operand starts.
        rest = match rest {
            Ast::Identifier(name) => return Position::of(name.span.start),
            Ast::CompoundIdentifier(parts) => return super::names::position_of(parts),
            Ast::Value(value) => return Position::of(value.span.start),
            Ast::Case { case_token, .. } => return Position::of(case_token.0.span.start),
            Ast::Function(function) => {
                let mut parts = function.name.0.iter().filter_map(|p| p.as_ident());
                return Position::of(parts.next()?.span.start);
            }
            Ast::Nested(expr)
            | Ast::UnaryOp { expr, .. }
            | Ast::BinaryOp { left: expr, .. }
            | Ast::IsNull(expr)
            | Ast::IsNotNull(expr)
            | Ast::InList { expr, .. }
            | Ast::InSubquery { expr, .. }
            | Ast::Between { expr, .. }
            | Ast::Like { expr, .. }
            | Ast::ILike { expr, .. }
            | Ast::SimilarTo { expr, .. }
            | Ast::RLike { expr, .. }
            | Ast::Cast { expr, .. }
            | Ast::Floor { expr, .. }
            | Ast::Ceil { expr, .. }
            | Ast::IsDistinctFrom(expr, _)
            | Ast::IsNotDistinctFrom(expr, _) => expr,
            _ => return None,
        };
    }
}
