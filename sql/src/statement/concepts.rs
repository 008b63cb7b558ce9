//! WHERE in two parts: the concepts, which choose the homes to ask, and the conditions that each home checks
//! itself.

use sqlparser::ast::{BinaryOperator, Expr as Ast, UnaryOperator};

use super::error::{Position, SqlError};
use super::functions::{as_call, text_literal};
use super::near::did_you_mean;
use super::walk::{chained, position_of};
use dispers_query::{
    catalogue::{Catalogue, EVERY_HOME},
    local::MAX_DEPTH,
    profile::{InvalidProfile, Profile},
};

/// Splits WHERE into the target profile and the local conditions. All the local conditions must hold.
pub(crate) fn split_where<'a>(
    selection: Option<&'a Ast>,
    catalogue: &Catalogue,
) -> Result<(Profile<String>, Vec<&'a Ast>), SqlError> {
    let mut profiles = Vec::new();
    let mut local = Vec::new();
    for condition in selection.map(conjuncts).unwrap_or_default() {
        match profile(condition, catalogue, 0)? {
            Some(profile) => profiles.push(profile),
            None => local.push(condition),
        }
    }
    let every_home = Profile::atom(EVERY_HOME.to_owned());
    if profiles.is_empty() {
        return Ok((every_home, local));
    }
    let mut profile = Profile::and(profiles).map_err(|e| too_large(None, e))?;
    // Target finders look for homes in the lists of the named concepts. A profile that matches a home of none
    // of these lists, such as a NOT, therefore also needs the list of all homes.
    if profile.matches(&|_| false) {
        profile = Profile::and(vec![every_home, profile]).map_err(|e| too_large(None, e))?;
    }
    Ok((profile, local))
}

/// Returns the conditions that AND joins at the top level, inside parentheses too.
fn conjuncts(selection: &Ast) -> Vec<&Ast> {
    let mut found = Vec::new();
    let mut stack = vec![selection];
    while let Some(condition) = stack.pop() {
        match condition {
            Ast::Nested(inner) => stack.push(inner),
            Ast::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => {
                stack.push(right);
                stack.push(left);
            }
            _ => found.push(condition),
        }
    }
    found
}

/// Converts a condition to a profile. Returns `None` if the condition names no concept and so is about data.
fn profile(
    ast: &Ast,
    catalogue: &Catalogue,
    depth: usize,
) -> Result<Option<Profile<String>>, SqlError> {
    if depth > MAX_DEPTH {
        let what = "the condition is nested too deeply";
        return Err(SqlError::new(position_of(ast), what, "write a shorter one"));
    }
    match ast {
        Ast::Nested(inner) => profile(inner, catalogue, depth + 1),
        Ast::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => profile(expr, catalogue, depth + 1)?
            .map(|part| Profile::negate(part).map_err(|e| too_large(position_of(ast), e)))
            .transpose(),
        Ast::BinaryOp {
            op: op @ (BinaryOperator::And | BinaryOperator::Or),
            ..
        } => {
            // A whole chain is one level, so that a long chain of AND or OR is not deep.
            let operands = chained(ast, op);
            let count = operands.len();
            let mut parts = Vec::new();
            for operand in operands {
                parts.extend(profile(operand, catalogue, depth + 1)?);
            }
            match parts.len() {
                0 => Ok(None),
                n if n < count => Err(SqlError::new(
                    position_of(ast),
                    "a concept and a condition on data stand together under OR or NOT: concepts \
                     choose who is asked, and only a home itself reads its data",
                    "join the two by AND, or submit a query for each",
                )),
                _ => {
                    let joined = match op {
                        BinaryOperator::And => Profile::and(parts),
                        _ => Profile::or(parts),
                    };
                    joined.map(Some).map_err(|e| too_large(position_of(ast), e))
                }
            }
        }
        _ => match as_call(ast) {
            Some(Ok(call)) if call.name == "concept" => {
                let usage = "concept('a>b')";
                let [argument] = call.exactly(usage)?;
                let name = text_literal(argument).ok_or_else(|| {
                    let what = "concept takes the name of a concept as a text";
                    SqlError::new(call.position, what, format!("write {usage}"))
                })?;
                if catalogue.has_concept(name) {
                    return Ok(Some(Profile::atom(name.to_owned())));
                }
                let names = catalogue
                    .concepts
                    .iter()
                    .map(String::as_str)
                    .chain([EVERY_HOME]);
                Err(SqlError::new(
                    position_of(argument),
                    format!("there is no concept '{name}'"),
                    did_you_mean(name, names, ""),
                ))
            }
            _ => Ok(None),
        },
    }
}

fn too_large(position: Option<Position>, error: InvalidProfile) -> SqlError {
    SqlError::new(position, error.to_string(), "name fewer concepts")
}
