//! Function calls: their plain form, and what each name stands for.

use sqlparser::ast::{
    DuplicateTreatment, Expr as Ast, Function as AstFunction, FunctionArg, FunctionArgExpr,
    FunctionArguments, OrderBySort,
};

use super::error::{Position, SqlError};
use super::expression::bind;
use super::names::Names;
use super::walk::position_of;
use dispers_query::local::{Aggregate, AggregateFunction};

/// The scalar functions, for people.
pub(super) const SCALARS: &str =
    "ABS, ROUND, FLOOR, CEIL, LENGTH, LOWER, UPPER, COALESCE, NULLIF, CASE and CAST";

/// The aggregates.
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

/// `name(arguments)` and nothing more.
pub(crate) struct Call<'a> {
    /// In lower case.
    pub(super) name: String,
    pub(super) arguments: Vec<&'a Ast>,
    /// Whether the only argument is `*`.
    pub(super) star: bool,
    /// The condition of FILTER.
    pub(super) filter: Option<&'a Ast>,
    /// The one item of WITHIN GROUP, and whether it is descending.
    pub(super) within: Option<(&'a Ast, bool)>,
    pub(super) position: Option<Position>,
}

impl<'a> Call<'a> {
    pub(super) fn new(function: &'a AstFunction) -> Result<Self, SqlError> {
        let name = function.name.to_string().to_lowercase();
        let parts = function.name.0.iter();
        let position = parts
            .filter_map(|p| p.as_ident())
            .find_map(|i| Position::of(i.span.start));
        let refuse = |what: &str, instead: &str| {
            let what = format!("{} {what}", name.to_uppercase());
            Err(SqlError::new(position, what, instead))
        };
        if function.over.is_some() {
            return refuse("OVER is a window function", "write GROUP BY instead");
        }
        let within = match function.within_group.as_slice() {
            [] => None,
            [item] if item.with_fill.is_none() && item.options.nulls_first.is_none() => {
                match item.options.sort {
                    None | Some(OrderBySort::Asc) => Some((&item.expr, false)),
                    Some(OrderBySort::Desc) => Some((&item.expr, true)),
                    Some(_) => return refuse("orders by an operator", "write ORDER BY x"),
                }
            }
            _ => {
                return refuse(
                    "orders by several values",
                    "write WITHIN GROUP (ORDER BY x)",
                );
            }
        };
        if function.null_treatment.is_some()
            || function.uses_odbc_syntax
            || !matches!(function.parameters, FunctionArguments::None)
        {
            return refuse("is called in a way that is not supported", "write name(x)");
        }
        let list = match &function.args {
            FunctionArguments::List(list) => list,
            FunctionArguments::None => return refuse("has no arguments", "write name(x)"),
            FunctionArguments::Subquery(_) => return Err(subquery(position)),
        };
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
            return refuse(
                "DISTINCT is not supported",
                "count rows with COUNT(*), or values with GROUP BY domain(x, 'a', 'b')",
            );
        }
        if !list.clauses.is_empty() {
            return refuse("has a clause that is not supported", "write name(x)");
        }
        let mut arguments = Vec::new();
        let mut star = false;
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => arguments.push(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => star = true,
                _ => return refuse("has a named argument", "write name(x)"),
            }
        }
        if star && (name != "count" || !arguments.is_empty() || list.args.len() != 1) {
            return refuse("does not take *", "write COUNT(*)");
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

    /// Whether the name is that of an aggregate.
    pub(super) fn is_aggregate(&self) -> bool {
        AGGREGATES.contains(&self.name.as_str())
    }

    /// Refuses FILTER and WITHIN GROUP, where they have no meaning.
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

    /// The call as people recognise it.
    pub(super) fn shown(&self) -> String {
        match self.name.as_str() {
            "clamp" | "concept" | "domain" => format!("{}(…)", self.name),
            name => format!("{}(…)", name.to_uppercase()),
        }
    }

    /// The arguments, if there are `N`.
    pub(super) fn exactly<const N: usize>(&self, usage: &str) -> Result<[&'a Ast; N], SqlError> {
        <[&Ast; N]>::try_from(self.arguments.clone()).map_err(|_| self.misused(usage))
    }

    /// An error for a wrong number of arguments.
    pub(super) fn misused(&self, usage: &str) -> SqlError {
        let n = self.arguments.len();
        let plural = if n == 1 { "" } else { "s" };
        let what = format!("{} has {n} argument{plural}", self.shown());
        SqlError::new(self.position, what, format!("write {usage}"))
    }

    /// The aggregate of a home's documents that this call is.
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

    /// An error for a function that no expression may call.
    pub(super) fn unsupported(&self) -> SqlError {
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

/// The call that `expr` is, parentheses aside.
pub(super) fn as_call(expr: &Ast) -> Option<Result<Call<'_>, SqlError>> {
    match expr {
        Ast::Nested(inner) => as_call(inner),
        Ast::Function(function) => Some(Call::new(function)),
        _ => None,
    }
}

/// The text literal that `expr` is.
pub(super) fn text_literal(expr: &Ast) -> Option<&str> {
    match expr {
        Ast::Value(value) => match &value.value {
            sqlparser::ast::Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// An error for a SELECT where none may stand.
pub(super) fn subquery(position: Option<Position>) -> SqlError {
    SqlError::new(
        position,
        "a SELECT inside an expression is not supported",
        "only FROM may hold one, over a home's own documents: \
         FROM (SELECT AVG(x) AS x FROM …) AS home",
    )
}

/// An error for something else at `expr`.
pub(super) fn unsupported(expr: &Ast, what: &str, instead: &str) -> SqlError {
    SqlError::new(position_of(expr), what, instead)
}
