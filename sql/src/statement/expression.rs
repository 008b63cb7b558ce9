//! Binding of expressions: names become columns, and implicit conversions become explicit.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, ExactNumberInfo, Expr as Ast,
    FunctionArguments, UnaryOperator, Value, ValueWithSpan,
};

use super::bound::{Bound, numeric_literal, too_large, unify};
use super::error::{Position, SqlError};
use super::functions::{Call, SCALARS, subquery, unsupported};
use super::names::Names;
use super::walk::{chained, position_of};
use dispers_query::local::{
    Arithmetic, Comparison, Expr, Function, Kind, MAX_DEPTH, MAX_TEXT, Node,
};

/// Binds `ast`, in which `names` says what each name means.
pub(crate) fn bind(ast: &Ast, names: &mut dyn Names) -> Result<Bound, SqlError> {
    let mut bound = Binder { names, depth: 0 }.bind(ast)?;
    bound.position = position_of(ast).or(bound.position);
    Ok(bound)
}

/// Binds an expression that must be a truth value.
pub(crate) fn bind_condition(ast: &Ast, names: &mut dyn Names) -> Result<Bound, SqlError> {
    let bound = bind(ast, names)?;
    match bound.typed.kind {
        Kind::Boolean => Ok(bound),
        _ if bound.is_unknown() => bound.to(Kind::Boolean),
        kind => Err(SqlError::new(
            position_of(ast),
            format!("{} where a condition is needed", kind.name()),
            "write a comparison, such as x = 1",
        )),
    }
}

/// Binds conditions that must all hold. Records in `names` which columns cannot be NULL where they hold.
pub(crate) fn bind_filter(
    conditions: &[&Ast],
    names: &mut dyn Names,
) -> Result<Option<Expr>, SqlError> {
    let mut bound = Vec::new();
    for condition in conditions {
        bound.push(bind_condition(condition, names)?);
    }
    let filter = match bound.len() {
        0 => return Ok(None),
        1 => bound.remove(0),
        n => {
            let count = u16::try_from(n).map_err(|_| too_large(None, "too many conditions"))?;
            Bound::apply(Node::And(count), bound)?
        }
    };
    names.narrow(&filter.expr.non_null_where_true());
    Ok(Some(filter.expr))
}

struct Binder<'n> {
    names: &'n mut dyn Names,
    depth: usize,
}

impl Binder<'_> {
    fn bind(&mut self, ast: &Ast) -> Result<Bound, SqlError> {
        // Local queries have a largest depth, which homes enforce. The check is made here so that the error
        // carries a position.
        if self.depth >= MAX_DEPTH {
            return Err(too_large(position_of(ast), "the expression is too deep"));
        }
        self.depth += 1;
        let bound = self.bind_one(ast);
        self.depth -= 1;
        bound
    }

    fn bind_one(&mut self, ast: &Ast) -> Result<Bound, SqlError> {
        // A whole expression may be a group key, as in `SELECT a > 1 … GROUP BY a > 1`. It must be recognised
        // before its parts are bound.
        if let Some(known) = self.names.whole(ast) {
            return known;
        }
        match ast {
            Ast::Nested(inner) => self.bind(inner),
            Ast::Identifier(name) => self.names.column(std::slice::from_ref(name)),
            Ast::CompoundIdentifier(parts) => self.names.column(parts),
            Ast::Value(value) => literal(value),
            Ast::UnaryOp { op, expr } => self.unary(*op, expr, ast),
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right, ast),
            Ast::IsNull(expr) | Ast::IsUnknown(expr) => self.over(Node::IsNull, &[expr]),
            Ast::IsNotNull(expr) | Ast::IsNotUnknown(expr) => {
                let test = self.over(Node::IsNull, &[expr])?;
                Bound::apply(Node::Not, vec![test])
            }
            Ast::IsTrue(expr) => self.is(expr, false, false),
            Ast::IsNotTrue(expr) => self.is(expr, false, true),
            Ast::IsFalse(expr) => self.is(expr, true, false),
            Ast::IsNotFalse(expr) => self.is(expr, true, true),
            Ast::InList {
                expr,
                list,
                negated,
            } => {
                let count = u16::try_from(list.len())
                    .ok()
                    .filter(|n| *n > 0)
                    .ok_or_else(|| too_large(position_of(ast), "an IN list of that length"))?;
                let values = self.all(std::iter::once(&**expr).chain(list))?;
                negate(Bound::apply(Node::In(count), unify(values)?)?, *negated)
            }
            Ast::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let values = self.all([&**expr, &**low, &**high])?;
                negate(Bound::apply(Node::Between, unify(values)?)?, *negated)
            }
            Ast::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => {
                let values = self.all([&**expr, &**pattern])?;
                let texts: Result<_, _> = values.into_iter().map(|v| v.to(Kind::Text)).collect();
                negate(Bound::apply(Node::Like, texts?)?, *negated)
            }
            Ast::Like { .. } => Err(unsupported(
                ast,
                "LIKE with ESCAPE or ANY is not supported",
                "write LIKE 'pattern'; a backslash escapes % and _",
            )),
            Ast::ILike { .. } => Err(unsupported(
                ast,
                "ILIKE is not supported",
                "write LOWER(x) LIKE 'pattern in lower case'",
            )),
            Ast::SimilarTo { .. } | Ast::RLike { .. } => Err(unsupported(
                ast,
                "regular expressions are not supported",
                "write LIKE with % and _",
            )),
            Ast::IsDistinctFrom(..) | Ast::IsNotDistinctFrom(..) => Err(unsupported(
                ast,
                "IS DISTINCT FROM is not supported",
                "write COALESCE(a = b, a IS NULL AND b IS NULL)",
            )),
            Ast::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Ast::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type,
                format: None,
            } => self.cast(expr, data_type, ast),
            Ast::Floor { expr, field } => self.whole(Function::Floor, expr, field, ast),
            Ast::Ceil { expr, field } => self.whole(Function::Ceil, expr, field, ast),
            // A keyword such as CURRENT_USER without parentheses may be the name of a column.
            Ast::Function(function) if matches!(function.args, FunctionArguments::None) => {
                let parts: Vec<_> = function
                    .name
                    .0
                    .iter()
                    .filter_map(|p| p.as_ident().cloned())
                    .collect();
                self.names.column(&parts)
            }
            Ast::Function(function) => self.call(&Call::new(function)?),
            Ast::Subquery(_) | Ast::InSubquery { .. } | Ast::Exists { .. } => {
                Err(subquery(position_of(ast)))
            }
            Ast::TypedString(_)
            | Ast::Interval(_)
            | Ast::Extract { .. }
            | Ast::AtTimeZone { .. } => Err(unsupported(
                ast,
                "dates are texts here",
                "write them as the documents do, such as day >= '2026-10-01'",
            )),
            _ => Err(unsupported(
                ast,
                "an expression of this form is not supported",
                &format!("write + - * /, comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, {SCALARS}"),
            )),
        }
    }

    fn all<'a>(&mut self, asts: impl IntoIterator<Item = &'a Ast>) -> Result<Vec<Bound>, SqlError> {
        asts.into_iter().map(|ast| self.bind(ast)).collect()
    }

    fn over(&mut self, node: Node, operands: &[&Ast]) -> Result<Bound, SqlError> {
        let operands = self.all(operands.iter().copied())?;
        Bound::apply(node, operands)
    }

    fn condition(&mut self, ast: &Ast) -> Result<Bound, SqlError> {
        let bound = self.bind(ast)?;
        if bound.is_unknown() {
            return bound.to(Kind::Boolean);
        }
        Ok(bound)
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Ast, ast: &Ast) -> Result<Bound, SqlError> {
        match op {
            UnaryOperator::Not => {
                let condition = self.condition(expr)?;
                Bound::apply(Node::Not, vec![condition])
            }
            UnaryOperator::Plus => self.bind(expr),
            UnaryOperator::Minus => {
                // A sign belongs to its literal: the smallest integer has no positive counterpart in 64 bits.
                if let Some(text) = number(expr) {
                    return numeric_literal(&format!("-{text}"), position_of(ast));
                }
                self.over(Node::Negate, &[expr])
            }
            _ => Err(unsupported(
                ast,
                "this operator is not supported",
                "write NOT or -",
            )),
        }
    }

    fn binary(
        &mut self,
        left: &Ast,
        op: &BinaryOperator,
        right: &Ast,
        ast: &Ast,
    ) -> Result<Bound, SqlError> {
        use BinaryOperator as Op;
        let node = match op {
            Op::And | Op::Or => return self.chain(op, ast),
            Op::Plus => Node::Arithmetic(Arithmetic::Add),
            Op::Minus => Node::Arithmetic(Arithmetic::Subtract),
            Op::Multiply => Node::Arithmetic(Arithmetic::Multiply),
            Op::Divide => Node::Arithmetic(Arithmetic::Divide),
            Op::Eq => Node::Compare(Comparison::Equal),
            Op::NotEq => Node::Compare(Comparison::NotEqual),
            Op::Lt => Node::Compare(Comparison::Less),
            Op::LtEq => Node::Compare(Comparison::LessOrEqual),
            Op::Gt => Node::Compare(Comparison::Greater),
            Op::GtEq => Node::Compare(Comparison::GreaterOrEqual),
            Op::Modulo => {
                return Err(unsupported(
                    ast,
                    "% is not supported",
                    "write a - a / b * b",
                ));
            }
            Op::StringConcat => {
                return Err(unsupported(
                    ast,
                    "|| is not supported",
                    "compare each text by itself",
                ));
            }
            _ => {
                return Err(unsupported(
                    ast,
                    &format!("the operator {op} is not supported"),
                    "write + - * / = <> < <= > >= AND OR NOT LIKE",
                ));
            }
        };
        let mut operands = unify(self.all([left, right])?)?;
        // Two untyped literals would unify to texts, on which there is no arithmetic.
        if matches!(node, Node::Arithmetic(_)) && operands.iter().all(Bound::is_unknown) {
            operands = operands
                .into_iter()
                .map(|o| o.to(Kind::Integer))
                .collect::<Result<_, _>>()?;
        }
        Bound::apply(node, operands)
    }

    /// Binds `a AND b AND c` as one node of three operands, so that long chains are not deep.
    fn chain(&mut self, op: &BinaryOperator, ast: &Ast) -> Result<Bound, SqlError> {
        let parts = chained(ast, op);
        let count = u16::try_from(parts.len())
            .map_err(|_| too_large(position_of(ast), "too many conditions"))?;
        let operands = parts
            .into_iter()
            .map(|part| self.condition(part))
            .collect::<Result<_, _>>()?;
        let node = match op {
            BinaryOperator::And => Node::And(count),
            _ => Node::Or(count),
        };
        Bound::apply(node, operands)
    }

    /// Binds `x IS [NOT] TRUE`, or, where `inverted`, `x IS [NOT] FALSE`.
    fn is(&mut self, expr: &Ast, inverted: bool, negated: bool) -> Result<Bound, SqlError> {
        let condition = negate(self.condition(expr)?, inverted)?;
        // IS is never NULL: where the condition is unknown, the test is false before `negated` applies.
        let no = Bound::literal(Node::Boolean(false), condition.position)?;
        let test = Bound::apply(Node::Coalesce(2), vec![condition, no])?;
        negate(test, negated)
    }

    fn case(
        &mut self,
        operand: Option<&Ast>,
        whens: &[CaseWhen],
        otherwise: Option<&Ast>,
    ) -> Result<Bound, SqlError> {
        let count = u16::try_from(whens.len()).map_err(|_| too_large(None, "CASE is too long"))?;
        let mut conditions = Vec::new();
        for when in whens {
            conditions.push(match operand {
                None => self.condition(&when.condition)?,
                Some(operand) => {
                    // CASE x WHEN v repeats the comparison for each v, because local queries have only the
                    // searched CASE.
                    let sides = unify(self.all([operand, &when.condition])?)?;
                    Bound::apply(Node::Compare(Comparison::Equal), sides)?
                }
            });
        }
        let results = self.all(whens.iter().map(|w| &w.result).chain(otherwise))?;
        let mut results = unify(results)?.into_iter();
        let mut operands = Vec::new();
        for condition in conditions {
            operands.push(condition);
            operands.extend(results.next());
        }
        operands.extend(results);
        let node = Node::Case {
            whens: count,
            otherwise: otherwise.is_some(),
        };
        Bound::apply(node, operands)
    }

    fn cast(&mut self, expr: &Ast, data_type: &DataType, ast: &Ast) -> Result<Bound, SqlError> {
        let kind = match data_type {
            DataType::Int(None)
            | DataType::Integer(None)
            | DataType::BigInt(None)
            | DataType::SmallInt(None) => Kind::Integer,
            DataType::Real
            | DataType::Float(ExactNumberInfo::None)
            | DataType::Double(ExactNumberInfo::None)
            | DataType::DoublePrecision
            | DataType::Numeric(ExactNumberInfo::None)
            | DataType::Decimal(ExactNumberInfo::None) => Kind::Real,
            _ => {
                return Err(unsupported(
                    ast,
                    &format!("CAST to {data_type} is not supported"),
                    "write CAST(x AS INTEGER) or CAST(x AS REAL)",
                ));
            }
        };
        let bound = self.bind(expr)?;
        match (bound.typed.kind, kind) {
            (Kind::Real | Kind::Boolean, Kind::Integer) if !bound.is_unknown() => {
                Bound::apply(Node::ToInteger, vec![bound])
            }
            _ => bound.to(kind),
        }
    }

    fn whole(
        &mut self,
        function: Function,
        expr: &Ast,
        field: &CeilFloorKind,
        ast: &Ast,
    ) -> Result<Bound, SqlError> {
        use sqlparser::ast::DateTimeField;
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {
                let value = self.bind(expr)?.to(Kind::Real)?;
                Bound::apply(Node::Function(function), vec![value])
            }
            _ => Err(unsupported(
                ast,
                &format!("{} takes one argument", function.name()),
                "write it over the value times a power of ten",
            )),
        }
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Bound, SqlError> {
        if call.is_aggregate() {
            return self.names.aggregate(call);
        }
        call.plain()?;
        let (function, kind) = match call.name.as_str() {
            "coalesce" => {
                let values = unify(self.all(call.arguments.iter().copied())?)?;
                let count = u16::try_from(values.len()).ok().filter(|n| *n > 0);
                let count = count.ok_or_else(|| call.misused("COALESCE(a, b)"))?;
                return Bound::apply(Node::Coalesce(count), values);
            }
            "nullif" => {
                let [a, b] = call.exactly("NULLIF(a, b)")?;
                return Bound::apply(Node::NullIf, unify(self.all([a, b])?)?);
            }
            "abs" => (Function::Abs, None),
            "round" => (Function::Round, Some(Kind::Real)),
            "floor" => (Function::Floor, Some(Kind::Real)),
            "ceil" | "ceiling" => (Function::Ceil, Some(Kind::Real)),
            "length" | "char_length" | "character_length" => (Function::Length, Some(Kind::Text)),
            "lower" => (Function::Lower, Some(Kind::Text)),
            "upper" => (Function::Upper, Some(Kind::Text)),
            _ => return Err(call.unsupported()),
        };
        let [argument] = call.exactly(&format!("{}(x)", function.name()))?;
        let value = self.bind(argument)?;
        let value = match kind {
            Some(kind) => value.to(kind)?,
            None => value,
        };
        Bound::apply(Node::Function(function), vec![value])
    }
}

fn negate(bound: Bound, negated: bool) -> Result<Bound, SqlError> {
    match negated {
        true => Bound::apply(Node::Not, vec![bound]),
        false => Ok(bound),
    }
}

fn number(ast: &Ast) -> Option<&str> {
    match ast {
        Ast::Value(ValueWithSpan {
            value: Value::Number(text, false),
            ..
        }) => Some(text),
        _ => None,
    }
}

fn literal(value: &ValueWithSpan) -> Result<Bound, SqlError> {
    let position = Position::of(value.span.start);
    match &value.value {
        Value::Number(text, false) => numeric_literal(text, position),
        Value::SingleQuotedString(text) if text.len() > MAX_TEXT => Err(too_large(
            position,
            &format!("a text of more than {MAX_TEXT} bytes"),
        )),
        Value::SingleQuotedString(text) => Bound::literal(Node::Text(text.clone()), position),
        Value::Boolean(value) => Bound::literal(Node::Boolean(*value), position),
        Value::Null => Bound::literal(Node::Null(Kind::Text), position),
        _ => Err(SqlError::new(
            position,
            "a literal of this form is not supported",
            "write a number, 'text', TRUE, FALSE or NULL",
        )),
    }
}
