//! Drawing of random expressions and questions.

use rand::{RngExt, rngs::StdRng};

use super::{
    expression::{Condition, Integer, Operand, Real, Text},
    question::{Aggregate, Clamped, Column, Inner, Key, Number, Question},
};

pub(super) const WORDS: [&str; 5] = ["red", "green", "blue", "Red deer", "été"];

/// Columns that an expression may name.
#[derive(Clone)]
pub(super) struct Columns {
    pub(super) integers: Vec<String>,
    pub(super) reals: Vec<String>,
    pub(super) texts: Vec<String>,
}

pub(super) struct Draw<'a> {
    pub(super) rng: &'a mut StdRng,
    pub(super) columns: Columns,
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

impl Draw<'_> {
    fn column(&mut self, names: &[String]) -> Option<String> {
        (!names.is_empty()).then(|| names[self.rng.random_range(0..names.len())].clone())
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.rng.random_bool(0.6).then(|| make(self))
    }

    pub(super) fn integer(&mut self, depth: u32) -> Integer {
        let choices = if depth == 0 { 2 } else { 9 };
        match self.rng.random_range(0..choices) {
            0 => Integer::Literal(self.rng.random_range(-9..=9)),
            1 => {
                let names = self.columns.integers.clone();
                self.column(&names)
                    .map_or(Integer::Literal(3), Integer::Column)
            }
            2 | 3 => {
                let operator = pick(self.rng, &["+", "-", "*", "/"]);
                Integer::Binary(
                    operator,
                    self.integer(depth - 1).into(),
                    self.integer(depth - 1).into(),
                )
            }
            4 => Integer::Negated(self.integer(depth - 1).into()),
            5 => Integer::Abs(self.integer(depth - 1).into()),
            6 => Integer::Length(self.text(depth - 1).into()),
            7 if self.rng.random_bool(0.5) => Integer::NullIf(
                self.integer(depth - 1).into(),
                self.integer(depth - 1).into(),
            ),
            7 => Integer::Coalesce(
                self.integer(depth - 1).into(),
                self.integer(depth - 1).into(),
            ),
            _ => Integer::Case(
                self.condition(depth - 1).into(),
                self.integer(depth - 1).into(),
                self.maybe(|draw| draw.integer(depth - 1).into()),
            ),
        }
    }

    pub(super) fn real(&mut self, depth: u32) -> Real {
        let choices = if depth == 0 { 2 } else { 6 };
        match self.rng.random_range(0..choices) {
            0 => Real::Halves(self.rng.random_range(-9..=9)),
            1 => {
                let names = self.columns.reals.clone();
                self.column(&names).map_or(Real::Halves(3), Real::Column)
            }
            2 => {
                let operator = pick(self.rng, &["+", "-"]);
                Real::Binary(
                    operator,
                    self.real(depth - 1).into(),
                    self.real(depth - 1).into(),
                )
            }
            3 => {
                let function = pick(self.rng, &["FLOOR", "CEIL", "ABS"]);
                Real::Rounded(function, self.real(depth - 1).into())
            }
            4 => Real::Coalesce(self.real(depth - 1).into(), self.real(depth - 1).into()),
            _ => Real::Case(
                self.condition(depth - 1).into(),
                self.real(depth - 1).into(),
                self.maybe(|draw| draw.real(depth - 1).into()),
            ),
        }
    }

    pub(super) fn text(&mut self, depth: u32) -> Text {
        let choices = if depth == 0 { 2 } else { 5 };
        match self.rng.random_range(0..choices) {
            0 => Text::Literal(pick(self.rng, &WORDS)),
            1 => {
                let names = self.columns.texts.clone();
                self.column(&names)
                    .map_or(Text::Literal("red"), Text::Column)
            }
            2 => {
                let function = pick(self.rng, &["LOWER", "UPPER"]);
                Text::Cased(function, self.text(depth - 1).into())
            }
            3 => Text::Coalesce(self.text(depth - 1).into(), self.text(depth - 1).into()),
            _ => Text::Case(
                self.condition(depth - 1).into(),
                self.text(depth - 1).into(),
                self.maybe(|draw| draw.text(depth - 1).into()),
            ),
        }
    }

    pub(super) fn condition(&mut self, depth: u32) -> Condition {
        let down = depth.saturating_sub(1);
        let operator = pick(self.rng, &["<", "<=", ">", ">=", "=", "<>"]);
        let negated = self.rng.random_bool(0.4);
        let choices = if depth == 0 { 7 } else { 10 };
        match self.rng.random_range(0..choices) {
            0 => Condition::Integers(operator, self.integer(down), self.integer(down)),
            1 => Condition::Reals(operator, self.real(down), self.real(down)),
            2 => {
                let operator = pick(self.rng, &["=", "<>"]);
                Condition::Texts(operator, self.text(down), self.text(down))
            }
            3 => {
                let operand = match self.rng.random_range(0..3) {
                    0 => Operand::Integer(self.integer(down)),
                    1 => Operand::Real(self.real(down)),
                    _ => Operand::Text(self.text(down)),
                };
                Condition::IsNull(operand, negated)
            }
            4 => {
                let count = self.rng.random_range(1..4);
                let list = (0..count).map(|_| self.rng.random_range(0..9)).collect();
                Condition::In(self.integer(down), list, negated)
            }
            5 => {
                let low = self.rng.random_range(0..5);
                let high = low + self.rng.random_range(0..6);
                Condition::Between(self.integer(down), low, high, negated)
            }
            6 => {
                let pattern = pick(self.rng, &["r%", "%e%", "_ed", "%", "R_d%", "__é", "green"]);
                Condition::Like(self.text(down), pattern, negated)
            }
            7 => Condition::And(self.condition(down).into(), self.condition(down).into()),
            8 => Condition::Or(self.condition(down).into(), self.condition(down).into()),
            _ => Condition::Not(self.condition(down).into()),
        }
    }

    fn key(&mut self) -> Key {
        match self.rng.random_range(0..4) {
            0 => Key::Condition(self.condition(1)),
            1 => {
                let count = self.rng.random_range(1..=3);
                Key::Words(self.text(1), WORDS[..count].to_vec())
            }
            2 => {
                let low = self.rng.random_range(-2..3);
                Key::Numbers(self.integer(1), (low..low + 3).collect())
            }
            _ => Key::Case(
                self.condition(1),
                self.condition(1),
                self.rng.random_bool(0.5),
            ),
        }
    }

    /// Draws a column: a simple one, one of two values, one of some rows, or an expression.
    fn column_of(&mut self) -> Column {
        let plain = self.plain_column();
        match self.rng.random_range(0..12) {
            0 => Column::Filtered(plain.into(), self.condition(1)),
            1 => Column::Share(self.condition(2)),
            2 | 3 => {
                let functions = [
                    "COVAR_POP",
                    "COVAR_SAMP",
                    "CORR",
                    "REGR_SLOPE",
                    "REGR_INTERCEPT",
                    "SUM",
                ];
                let function = pick(self.rng, &functions);
                Column::Pair(function, self.clamped(), self.clamped())
            }
            4 => Column::Median(self.clamped()),
            5 => Column::Ratio(self.clamped(), self.rng.random_range(0..10)),
            _ => plain,
        }
    }

    fn clamped(&mut self) -> Clamped {
        let low = self.rng.random_range(-12..=0);
        let high = low + self.rng.random_range(1..=24);
        let number = match self.rng.random_bool(0.6) {
            true => Number::Integer(self.integer(2)),
            false => Number::Real(self.real(2)),
        };
        Clamped(number, low, high)
    }

    fn plain_column(&mut self) -> Column {
        let number = |draw: &mut Self| match draw.rng.random_bool(0.6) {
            true => Number::Integer(draw.integer(2)),
            false => Number::Real(draw.real(2)),
        };
        match self.rng.random_range(0..8) {
            0 => Column::Rows,
            1 => Column::Count(match self.rng.random_range(0..3) {
                0 => Operand::Integer(self.integer(2)),
                1 => Operand::Real(self.real(2)),
                _ => Operand::Text(self.text(2)),
            }),
            _ => {
                let aggregate = [
                    Aggregate::Sum,
                    Aggregate::Avg,
                    Aggregate::VarSamp,
                    Aggregate::VarPop,
                    Aggregate::StddevSamp,
                    Aggregate::StddevPop,
                ];
                let aggregate = aggregate[self.rng.random_range(0..aggregate.len())];
                let low = self.rng.random_range(-12..=0);
                let high = low + self.rng.random_range(1..=24);
                Column::Aggregate(aggregate, Clamped(number(self), low, high))
            }
        }
    }

    pub(super) fn question(&mut self, inner: Option<Inner>) -> Question {
        let keys = match self.rng.random_range(0..5) {
            0 | 1 => 0,
            2 | 3 => 1,
            _ => 2,
        };
        let mut keys: Vec<Key> = (0..keys).map(|_| self.key()).collect();
        // Two equal keys next to each other would be one column of a suppressed group.
        keys.dedup_by_key(|key| key.to_string());
        let columns = self.rng.random_range(1..=3);
        Question {
            keys,
            columns: (0..columns).map(|_| self.column_of()).collect(),
            condition: self.maybe(|draw| draw.condition(2)),
            inner,
        }
    }
}
