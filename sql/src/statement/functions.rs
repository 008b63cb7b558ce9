//! Function calls: their plain form, and the functions that exist.

use sqlparser::ast::{
    DuplicateTreatment, Expr as Ast, Function as AstFunction, FunctionArg, FunctionArgExpr,
    FunctionArguments, OrderBySort,
};

use super::error::{Position, SqlError};
use super::expression::bind;
use super::names::Names;
use super::walk::position_of;
use dispers_query::local::{Aggregate, AggregateFunction};

/// Scalar functions, as error messages list them.
pub(super) const SCALARS: &str =
    "ABS, ROUND, FLOOR, CEIL, LENGTH, LOWER, UPPER, COALESCE, NULLIF, CASE and CAST";

/// Names of the aggregates, in lower case.
const AGGREGATES: [&str; 30] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "variance",
    "var_samp",
    "var_pop",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "covar_samp",
    "covar_pop",
    "corr",
    "regr_count",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
    "regr_slope",
    "regr_intercept",
    "regr_r2",
    "histogram",
    "median",
    "percentile_cont",
    "percentile_disc",
    "approx_quantile",
    "mode",
    "share",
];

/// A function call in its plain form `name(arguments)`, with at most FILTER and WITHIN GROUP.
pub(crate) struct Call<'a> {
    /// Name of the function in lower case.
    pub(super) name: String,
    pub(super) arguments: Vec<&'a Ast>,
    /// True if the only argument is `*`.
    pub(super) star: bool,
    /// Condition of FILTER.
    pub(super) filter: Option<&'a Ast>,
    /// The single item of WITHIN GROUP, and whether its order is descending.
    pub(super) within: Option<(&'a Ast, bool)>,
    pub(super) position: Option<Position>,
}

impl<'a> Call<'a> {
    pub(super) fn new(function: &'a AstFunction) -> Result<Self, SqlError> {
        // Every part of the call that is not read below must be refused here. A part that is ignored would
        // silently change what the query means.
        let name = function.name.to_string().to_lowercase();
        let parts = function.name.0.iter();
        let position = parts
            .filter_map(|p| p.as_ident())
            .find_map(|i| Position::of(i.span.start));
        if function.over.is_some() {
            return refuse(
                &name,
                position,
                "OVER is a window function",
                "write GROUP BY instead",
            );
        }
        let within = match function.within_group.as_slice() {
            [] => None,
            [item] if item.with_fill.is_none() && item.options.nulls_first.is_none() => {
                match item.options.sort {
                    None | Some(OrderBySort::Asc) => Some((&item.expr, false)),
                    Some(OrderBySort::Desc) => Some((&item.expr, true)),
                    Some(_) => {
                        return refuse(
                            &name,
                            position,
                            "orders by an operator",
                            "write ORDER BY x",
                        );
                    }
                }
            }
            _ => {
                return refuse(
                    &name,
                    position,
                    "orders by several values",
                    "write WITHIN GROUP (ORDER BY x)",
                );
            }
        };
        if function.null_treatment.is_some()
            || function.uses_odbc_syntax
            || !matches!(function.parameters, FunctionArguments::None)
        {
            return refuse(
                &name,
                position,
                "is called in a way that is not supported",
                "write name(x)",
            );
        }
        let list = match &function.args {
            FunctionArguments::List(list) => list,
            FunctionArguments::None => {
                return refuse(&name, position, "has no arguments", "write name(x)");
            }
            FunctionArguments::Subquery(_) => return Err(subquery(position)),
        };
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
            return refuse(
                &name,
                position,
                "DISTINCT is not supported",
                "count rows with COUNT(*), or values with GROUP BY domain(x, 'a', 'b')",
            );
        }
        if !list.clauses.is_empty() {
            return refuse(
                &name,
                position,
                "has a clause that is not supported",
                "write name(x)",
            );
        }
        let mut arguments = Vec::new();
        let mut star = false;
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => star = true,
                _ => return refuse(&name, position, "has a named argument", "write name(x)"),
            }
        }
        if star && (name != "count" || !arguments.is_empty() || list.args.len() != 1) {
            return refuse(&name, position, "does not take *", "write COUNT(*)");
        }
        Ok(Self {
            name,
            arguments,
            star,
            filter: function.filter.as_deref(),
            within,
            position,
        })
    }

    /// Returns whether the name is that of an aggregate.
    pub(super) fn is_aggregate(&self) -> bool {
        AGGREGATES.contains(&self.name.as_str())
    }

    /// Refuses FILTER and WITHIN GROUP where they have no meaning.
    pub(super) fn plain(&self) -> Result<(), SqlError> {
        if self.filter.is_some() {
            return Err(SqlError::new(
                self.position,
                format!("{} does not take FILTER here", self.shown()),
                "write CASE WHEN … THEN x END inside it",
            ));
        }
        if self.within.is_some() {
            return Err(SqlError::new(
                self.position,
                format!("{} does not take WITHIN GROUP", self.shown()),
                "only PERCENTILE_CONT(p) and MODE() do",
            ));
        }
        Ok(())
    }

    /// Returns the call in the spelling of the documentation, with its arguments left out.
    pub(super) fn shown(&self) -> String {
        match self.name.as_str() {
            "clamp" | "concept" | "domain" => format!("{}(…)", self.name),
            name => format!("{}(…)", name.to_uppercase()),
        }
    }

    /// Returns the arguments.
    ///
    /// # Errors
    /// If their number is not `N`.
    pub(super) fn exactly<const N: usize>(&self, usage: &str) -> Result<[&'a Ast; N], SqlError> {
        <[&Ast; N]>::try_from(self.arguments.clone()).map_err(|_| self.misused(usage))
    }

    /// Returns the error for a wrong number of arguments.
    pub(super) fn misused(&self, usage: &str) -> SqlError {
        let n = self.arguments.len();
        let plural = if n == 1 { "" } else { "s" };
        let what = format!("{} has {n} argument{plural}", self.shown());
        SqlError::new(self.position, what, format!("write {usage}"))
    }

    /// Binds this call as an aggregate over one home's documents, for the inner SELECT.
    pub(super) fn inner_aggregate(&self, names: &mut dyn Names) -> Result<Aggregate, SqlError> {
        self.plain()?;
        let function = match self.name.as_str() {
            "count" => AggregateFunction::Count,
            "sum" => AggregateFunction::Sum,
            "avg" => AggregateFunction::Average,
            "min" => AggregateFunction::Minimum,
            "max" => AggregateFunction::Maximum,
            _ => {
                return Err(SqlError::new(
                    self.position,
                    format!("{} cannot aggregate a home's documents", self.shown()),
                    "write AVG, SUM, MIN, MAX or COUNT in the inner SELECT",
                ));
            }
        };
        if self.star {
            let argument = None;
            return Ok(Aggregate { function, argument });
        }
        let [argument] = self.exactly(&format!("{}(x)", self.name.to_uppercase()))?;
        let bound = bind(argument, names)?;
        Ok(Aggregate {
            function,
            argument: Some(bound.expr),
        })
    }

    /// Returns the error for a function that no expression may call.
    pub(super) fn unsupported(&self) -> SqlError {
        // FILTER on a scalar function is the likelier mistake, so it is reported before the name.
        if let Err(error) = self.plain() {
            return error;
        }
        let (what, instead) = match self.name.as_str() {
            "clamp" => (
                "clamp bounds what an aggregate adds up".to_owned(),
                "write it directly inside one: AVG(clamp(x, lo, hi))".to_owned(),
            ),
            "domain" => (
                "domain lists the values of a group".to_owned(),
                "write it in SELECT and GROUP BY: GROUP BY domain(x, 'a', 'b')".to_owned(),
            ),
            "concept" => (
                "concept('…') chooses homes".to_owned(),
                "write it in the outer WHERE as a condition of its own, joined by AND".to_owned(),
            ),
            "array_agg" | "string_agg" | "json_agg" | "listagg" => (
                format!("{} would release single values", self.shown()),
                "write COUNT(*) with GROUP BY domain(x, 'a', 'b'), or HISTOGRAM(clamp(x, lo, hi), 10)"
                    .to_owned(),
            ),
            "greatest" | "least" => (
                format!("{} is not supported", self.shown()),
                "write CASE WHEN a > b THEN a ELSE b END".to_owned(),
            ),
            _ => (
                format!("the function {} is not on the list", self.name),
                format!(
                    "there are {SCALARS}; and the aggregates COUNT, SUM, AVG, VARIANCE, STDDEV, COVAR_SAMP, CORR, \
                     REGR_SLOPE, HISTOGRAM, MEDIAN, PERCENTILE_CONT, MIN, MAX, MODE and SHARE"
                ),
            ),
        };
        SqlError::new(self.position, what, instead)
    }
}

fn refuse<T>(
    name: &str,
    position: Option<Position>,
    what: &str,
    instead: &str,
) -> Result<T, SqlError> {
    let what = format!("{} {what}", name.to_uppercase());
    Err(SqlError::new(position, what, instead))
}

/// Returns the function call that `expr` is after its parentheses are removed, or `None` if it is not a call.
pub(super) fn as_call(expr: &Ast) -> Option<Result<Call<'_>, SqlError>> {
    match expr {
        Ast::Nested(inner) => as_call(inner),
        Ast::Function(function) => Some(Call::new(function)),
        _ => None,
    }
}

/// Returns the text if `expr` is a text literal.
pub(super) fn text_literal(expr: &Ast) -> Option<&str> {
    match expr {
        Ast::Value(value) => match &value.value {
            sqlparser::ast::Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the error for a SELECT inside an expression.
pub(super) fn subquery(position: Option<Position>) -> SqlError {
    SqlError::new(
        position,
        "a SELECT inside an expression is not supported",
        "only FROM may hold one, over a home's own documents: \
         FROM (SELECT AVG(x) AS x FROM …) AS home",
    )
}

/// Returns an error at the position of `expr`.
pub(super) fn unsupported(expr: &Ast, what: &str, instead: &str) -> SqlError {
    SqlError::new(position_of(expr), what, instead)
}
