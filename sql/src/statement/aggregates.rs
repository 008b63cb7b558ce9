//! Aggregates: the sums that each needs, and the computation of its value from them.

use sqlparser::ast::{BinaryOperator, Expr as Ast};

use super::error::SqlError;
use super::functions::{Call, as_call};
use super::measures::{Measures, number};
use super::names::Names;
use super::walk::position_of;
use crate::decode::{Product, Source, Statistic};
use dispers_query::local::{Kind, Typed};

/// An aggregate with the type of its value.
pub(super) struct Aggregated {
    pub(super) source: Source,
    pub(super) typed: Typed,
}

impl Aggregated {
    fn new(source: Source, kind: Kind, nullable: bool) -> Self {
        Self {
            source,
            typed: Typed::new(kind, nullable),
        }
    }

    fn real(source: Source) -> Self {
        Self::new(source, Kind::Real, true)
    }
}

/// Binds the call of an aggregate.
pub(super) fn aggregate(
    call: &Call<'_>,
    measures: &mut Measures,
    names: &mut dyn Names,
) -> Result<Aggregated, SqlError> {
    let within = matches!(call.name.as_str(), "percentile_cont" | "mode");
    if let Some((ast, _)) = call.within
        && !within
    {
        return Err(SqlError::new(
            position_of(ast),
            format!("{} does not take WITHIN GROUP", call.shown()),
            match call.name.as_str() {
                "percentile_disc" => "write PERCENTILE_CONT(p), which interpolates",
                _ => "only PERCENTILE_CONT(p) and MODE() do",
            },
        ));
    }
    let mut binder = Binder {
        call,
        measures,
        names,
    };
    match call.name.as_str() {
        "count" => binder.count(),
        "sum" | "avg" => binder.sum(),
        name if name.starts_with("var") || name.starts_with("stddev") => binder.variance(),
        name if statistic(name).is_some() || name == "regr_count" => binder.pair(),
        "median" | "percentile_cont" | "approx_quantile" => binder.quantile(),
        "min" | "max" => binder.extreme(),
        "mode" => binder.mode(),
        "share" => binder.share(),
        "percentile_disc" => Err(SqlError::new(
            call.position,
            "PERCENTILE_DISC would be one person's value",
            "write PERCENTILE_CONT(p) WITHIN GROUP (ORDER BY clamp(x, lo, hi))",
        )),
        "histogram" => Err(SqlError::new(
            call.position,
            "HISTOGRAM makes one row per bin, and cannot stand inside an expression",
            "write it as a column of its own: SELECT HISTOGRAM(clamp(x, lo, hi), 10) FROM …",
        )),
        _ => Err(call.unsupported()),
    }
}

fn statistic(name: &str) -> Option<Statistic> {
    Some(match name {
        "covar_samp" => Statistic::CovarSample,
        "covar_pop" => Statistic::CovarPopulation,
        "corr" => Statistic::Correlation,
        "regr_slope" => Statistic::Slope,
        "regr_intercept" => Statistic::Intercept,
        "regr_r2" => Statistic::R2,
        "regr_avgx" => Statistic::AverageX,
        "regr_avgy" => Statistic::AverageY,
        "regr_sxx" => Statistic::Sxx,
        "regr_syy" => Statistic::Syy,
        "regr_sxy" => Statistic::Sxy,
        _ => return None,
    })
}

struct Binder<'c, 'm, 'n> {
    call: &'c Call<'c>,
    measures: &'m mut Measures,
    names: &'n mut dyn Names,
}

impl Binder<'_, '_, '_> {
    fn shown(&self) -> String {
        self.call.name.to_uppercase()
    }

    fn clamped(&mut self, argument: &Ast) -> Result<u16, SqlError> {
        let (name, filter) = (self.shown(), self.call.filter);
        self.measures.clamped(&name, argument, filter, self.names)
    }

    fn count(&mut self) -> Result<Aggregated, SqlError> {
        let (call, filter) = (self.call, self.call.filter);
        let present = match (call.star, filter) {
            (true, None) => Vec::new(),
            (true, Some(filter)) => self.measures.condition(filter, false, None, self.names)?,
            (false, _) => {
                let [argument] = call.exactly("COUNT(*) or COUNT(x)")?;
                self.measures.present(argument, filter, self.names)?
            }
        };
        Ok(Aggregated::new(
            Source::Count(present),
            Kind::Integer,
            false,
        ))
    }

    /// Returns a clamped value, or the product of two clamped values, and adds the sums that it needs.
    fn product(&mut self, argument: &Ast) -> Result<Product, SqlError> {
        let factors = match product(argument) {
            Some((one, other)) => vec![self.clamped(one)?, self.clamped(other)?],
            None => vec![self.clamped(argument)?],
        };
        // A grid starts at lo and not at 0. The sum of products of values therefore also needs the sum of
        // each factor's levels, over the same rows.
        let present = self.measures.nullable(&factors);
        if factors.len() == 2 {
            for factor in &factors {
                self.measures.sum(&present, &[*factor]);
            }
        }
        self.measures.sum(&present, &factors);
        let mut factors = factors;
        factors.sort_unstable();
        Ok(Product { factors, present })
    }

    fn sum(&mut self) -> Result<Aggregated, SqlError> {
        let usage = format!("{}(clamp(x, lo, hi))", self.shown());
        let [argument] = self.call.exactly(&usage)?;
        let of = self.product(argument)?;
        if self.call.name == "avg" {
            return Ok(Aggregated::real(Source::Mean(of)));
        }
        // A sum of integers on a grid with an integer step is an integer, as in PostgreSQL.
        let whole = match of.factors[..] {
            [variable] => {
                let quantiser = self.measures.measures[usize::from(variable)].quantiser;
                quantiser.is_some_and(|q| q.is_integer())
            }
            _ => false,
        };
        let kind = if whole { Kind::Integer } else { Kind::Real };
        Ok(Aggregated::new(Source::Sum(of), kind, true))
    }

    fn variance(&mut self) -> Result<Aggregated, SqlError> {
        let usage = format!("{}(clamp(x, lo, hi))", self.shown());
        let [argument] = self.call.exactly(&usage)?;
        let variable = self.clamped(argument)?;
        let present = self.measures.nullable(&[variable]);
        let factors = vec![variable];
        self.measures.sum(&present, &factors);
        self.measures.sum(&present, &[variable, variable]);
        let name = &self.call.name;
        Ok(Aggregated::real(Source::Variance {
            of: Product { factors, present },
            sample: !name.ends_with("_pop"),
            root: name.starts_with("stddev"),
        }))
    }

    fn pair(&mut self) -> Result<Aggregated, SqlError> {
        let usage = format!("{}(clamp(y, lo, hi), clamp(x, lo, hi))", self.shown());
        let [y, x] = self.call.exactly(&usage)?;
        let (y, x) = (self.clamped(y)?, self.clamped(x)?);
        let present = self.measures.nullable(&[y, x]);
        let Some(statistic) = statistic(&self.call.name) else {
            // REGR_COUNT needs only the count of rows that have both values.
            self.measures.sum(&present, &[]);
            return Ok(Aggregated::new(
                Source::Count(present),
                Kind::Integer,
                false,
            ));
        };
        let (yy, xx, xy) = statistic.needs();
        for (wanted, factors) in [
            (true, &[y][..]),
            (true, &[x]),
            (yy, &[y, y]),
            (xx, &[x, x]),
            (xy, &[y, x]),
        ] {
            if wanted {
                self.measures.sum(&present, factors);
            }
        }
        Ok(Aggregated::real(Source::Pair {
            statistic,
            y,
            x,
            present,
        }))
    }

    fn quantile(&mut self) -> Result<Aggregated, SqlError> {
        let (argument, fraction) = match (self.call.name.as_str(), self.call.within) {
            ("percentile_cont", Some((argument, descending))) => {
                let [fraction] = self.call.exactly(PERCENTILE)?;
                let fraction = self.fraction(fraction)?;
                (argument, if descending { 1.0 - fraction } else { fraction })
            }
            ("percentile_cont", None) => {
                return Err(SqlError::new(
                    self.call.position,
                    "PERCENTILE_CONT does not say of what",
                    format!("write {PERCENTILE}"),
                ));
            }
            ("median", _) => {
                let [argument] = self.call.exactly("MEDIAN(clamp(x, lo, hi))")?;
                (argument, 0.5)
            }
            _ => {
                let [argument, fraction] =
                    self.call.exactly("APPROX_QUANTILE(clamp(x, lo, hi), p)")?;
                (argument, self.fraction(fraction)?)
            }
        };
        let variable = self.counted(argument)?;
        Ok(Aggregated::real(Source::Quantile { variable, fraction }))
    }

    fn fraction(&mut self, ast: &Ast) -> Result<f64, SqlError> {
        let instead = "write a number from 0 to 1, such as 0.9";
        let fraction = number(ast, "the percentile is public", instead, self.names)?;
        match (0.0..=1.0).contains(&fraction) {
            true => Ok(fraction),
            false => Err(SqlError::new(
                position_of(ast),
                format!("percentile {fraction} is outside [0, 1]"),
                instead,
            )),
        }
    }

    /// Returns the variable of a clamped value whose levels are counted in runs.
    fn counted(&mut self, argument: &Ast) -> Result<u16, SqlError> {
        let (name, filter) = (self.shown(), self.call.filter);
        let variable = self.measures.counted(&name, argument, filter, self.names)?;
        self.measures.levels(variable, true);
        Ok(variable)
    }

    fn extreme(&mut self) -> Result<Aggregated, SqlError> {
        let usage = format!("{}(clamp(x, lo, hi))", self.shown());
        let [argument] = self.call.exactly(&usage)?;
        let variable = self.counted(argument)?;
        let largest = self.call.name == "max";
        Ok(Aggregated::real(Source::Extreme { variable, largest }))
    }

    fn mode(&mut self) -> Result<Aggregated, SqlError> {
        let usage = "MODE() WITHIN GROUP (ORDER BY domain(x, 'a', 'b')), or MODE(clamp(x, lo, hi))";
        let argument = match self.call.within {
            Some((argument, _)) if self.call.arguments.is_empty() => argument,
            Some(_) => return Err(self.call.misused(usage)),
            None => {
                let [argument] = self.call.exactly(usage)?;
                argument
            }
        };
        let filter = self.call.filter;
        let clamped = as_call(argument).transpose()?;
        if clamped.is_some_and(|call| call.name == "clamp") {
            let variable = self
                .measures
                .counted("MODE", argument, filter, self.names)?;
            // The mode needs single levels: a run would hide which of its levels is the most frequent.
            self.measures.levels(variable, false);
            let labels = Vec::new();
            return Ok(Aggregated::real(Source::Mode { variable, labels }));
        }
        let (variable, labels) = self.measures.category(argument, filter, self.names)?;
        self.measures.levels(variable, false);
        let kind = match labels.first() {
            Some(crate::decode::Value::Boolean(_)) => Kind::Boolean,
            Some(crate::decode::Value::Integer(_)) => Kind::Integer,
            _ => Kind::Text,
        };
        Ok(Aggregated::new(
            Source::Mode { variable, labels },
            kind,
            true,
        ))
    }

    fn share(&mut self) -> Result<Aggregated, SqlError> {
        let [condition] = self.call.exactly("SHARE(x = 'a')")?;
        let filter = self.call.filter;
        let of = self
            .measures
            .condition(condition, true, filter, self.names)?;
        let hits = self
            .measures
            .condition(condition, false, filter, self.names)?;
        Ok(Aggregated::real(Source::Share { hits, of }))
    }
}

// Form of the only percentile that is supported, for errors.
const PERCENTILE: &str = "PERCENTILE_CONT(p) WITHIN GROUP (ORDER BY clamp(x, lo, hi))";

/// Returns the two factors of a product.
fn product(ast: &Ast) -> Option<(&Ast, &Ast)> {
    match ast {
        Ast::Nested(inner) => product(inner),
        Ast::BinaryOp {
            left,
            op: BinaryOperator::Multiply,
            right,
        } => Some((left, right)),
        _ => None,
    }
}
