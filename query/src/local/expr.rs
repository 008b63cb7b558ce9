//! Expressions over one row, in postfix order.
//!
//! In postfix order neither decoding nor evaluating a stranger's expression recurses, so that it cannot exhaust the
//! call stack. Types are strict: an expression contains the conversions that PostgreSQL would make implicitly.

use borsh::{BorshDeserialize, BorshSerialize};

use super::typing::Kind;
use crate::invalid_data;

/// Largest number of nodes of one expression, and of all expressions of one query together.
pub const MAX_NODES: usize = 4096;
/// Largest depth of an expression.
pub const MAX_DEPTH: usize = 64;
/// Largest number of operands of one node.
pub const MAX_OPERANDS: usize = 512;
/// Largest length of one text literal, in bytes.
pub const MAX_TEXT: usize = 256;

/// Node of an expression. Its operands stand before it.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Node {
    /// NULL of a type.
    Null(Kind),
    /// Literal TRUE or FALSE.
    Boolean(bool),
    /// Integer literal.
    Integer(i64),
    /// Literal with a fraction or an exponent; it must be finite.
    Real(f64),
    /// Text literal.
    Text(String),
    /// Value of the column at this position of the row.
    Column(u16),
    /// Conversion of an integer to a real number.
    ToReal,
    /// Conversion to an integer: of a real number by rounding half to even, of a truth value to 1 or 0.
    ToInteger,
    /// Unary minus.
    Negate,
    /// Arithmetic on two operands of one numeric type. A division of integers truncates. A division by zero is NULL.
    Arithmetic(Arithmetic),
    /// Comparison of two operands of one type.
    Compare(Comparison),
    /// Negation of a truth value.
    Not,
    /// Conjunction of this number of operands.
    And(u16),
    /// Disjunction of this number of operands.
    Or(u16),
    /// True if the operand is NULL, else false.
    IsNull,
    /// True if the first operand equals one of the operands after it. Their number is given.
    In(u16),
    /// True if the first operand is at least the second and at most the third.
    Between,
    /// True if the first operand matches the pattern in the second, case-sensitively. A backslash escapes.
    Like,
    /// Result of the first pair whose condition is true. The operands are pairs of condition and result, then, if
    /// `otherwise`, the result if no condition is true. Without `otherwise` that result is NULL.
    Case {
        /// Number of pairs.
        whens: u16,
        /// True if a result for all other cases follows the pairs.
        otherwise: bool,
    },
    /// First operand that is not NULL, of this number of operands.
    Coalesce(u16),
    /// First operand, or NULL if it equals the second.
    NullIf,
    /// Function of one operand.
    Function(Function),
}

/// Arithmetic operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Arithmetic {
    /// Returns the operator in SQL.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }
}

/// Comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Returns the operator in SQL.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// Function that a query may call. Functions of several operands have nodes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Function {
    /// Absolute value of a number.
    Abs,
    /// Real number rounded half to even.
    Round,
    /// Largest whole number that is not above a real number.
    Floor,
    /// Smallest whole number that is not below a real number.
    Ceil,
    /// Number of characters of a text.
    Length,
    /// Text in lower case.
    Lower,
    /// Text in upper case.
    Upper,
}

impl Function {
    /// Returns the name of the function in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abs => "ABS",
            Self::Round => "ROUND",
            Self::Floor => "FLOOR",
            Self::Ceil => "CEIL",
            Self::Length => "LENGTH",
            Self::Lower => "LOWER",
            Self::Upper => "UPPER",
        }
    }
}

impl Node {
    /// Returns the number of operands.
    pub fn arity(&self) -> usize {
        match self {
            Self::Null(_)
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Real(_)
            | Self::Text(_)
            | Self::Column(_) => 0,
            Self::ToReal
            | Self::ToInteger
            | Self::Negate
            | Self::Not
            | Self::IsNull
            | Self::Function(_) => 1,
            Self::Arithmetic(_) | Self::Compare(_) | Self::Like | Self::NullIf => 2,
            Self::Between => 3,
            Self::And(n) | Self::Or(n) | Self::Coalesce(n) => usize::from(*n),
            Self::In(n) => 1 + usize::from(*n),
            Self::Case { whens, otherwise } => 2 * usize::from(*whens) + usize::from(*otherwise),
        }
    }

    /// Returns whether the node by itself is within the bounds.
    fn is_bounded(&self) -> bool {
        self.arity() <= MAX_OPERANDS
            && match self {
                Self::Real(value) => value.is_finite(),
                Self::Text(text) => text.len() <= MAX_TEXT,
                Self::And(n) | Self::Or(n) => *n >= 2,
                Self::Coalesce(n) | Self::In(n) | Self::Case { whens: n, .. } => *n >= 1,
                _ => true,
            }
    }
}

/// Error for nodes that are not an expression, or that exceed a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an expression may have {MAX_NODES} parts, depth {MAX_DEPTH}, lists of {MAX_OPERANDS} and \
     texts of {MAX_TEXT} bytes"
)]
pub struct InvalidExpr;

/// Expression: one tree of nodes within the bounds. Its types are not yet checked.
#[derive(Debug, Clone, PartialEq, BorshSerialize)]
pub struct Expr {
    nodes: Vec<Node>,
}

impl Expr {
    /// Checks nodes and makes an expression.
    ///
    /// # Errors
    /// [`InvalidExpr`] if `nodes` are not one tree in postfix order within the bounds.
    pub fn new(nodes: Vec<Node>) -> Result<Self, InvalidExpr> {
        if nodes.len() > MAX_NODES {
            return Err(InvalidExpr);
        }
        // The depths of the subtrees that have no parent yet. Each node takes its operands' depths away and leaves its
        // own, so that exactly one depth is left of a tree.
        let mut depths: Vec<usize> = Vec::new();
        for node in &nodes {
            if !node.is_bounded() {
                return Err(InvalidExpr);
            }
            let rest = depths.len().checked_sub(node.arity()).ok_or(InvalidExpr)?;
            let depth = 1 + depths.drain(rest..).max().unwrap_or(0);
            if depth > MAX_DEPTH {
                return Err(InvalidExpr);
            }
            depths.push(depth);
        }
        (depths.len() == 1)
            .then_some(Self { nodes })
            .ok_or(InvalidExpr)
    }

    /// Makes the expression that applies `node` to `operands`.
    ///
    /// # Errors
    /// [`InvalidExpr`] beyond the bounds.
    pub fn apply(node: Node, operands: Vec<Self>) -> Result<Self, InvalidExpr> {
        let mut nodes: Vec<Node> = operands.into_iter().flat_map(|e| e.nodes).collect();
        nodes.push(node);
        Self::new(nodes)
    }

    /// Returns the nodes in postfix order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Folds the expression bottom-up: `f` gets each node with the results for its operands.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn try_fold<T, E>(&self, mut f: impl FnMut(&Node, Vec<T>) -> Result<T, E>) -> Result<T, E> {
        let mut stack: Vec<T> = Vec::new();
        for node in &self.nodes {
            let operands = stack.split_off(stack.len() - node.arity());
            stack.push(f(node, operands)?);
        }
        Ok(stack.pop().expect("a checked expression leaves one value"))
    }

    /// Folds like [`try_fold`](Self::try_fold) with a function that cannot fail.
    pub fn fold<T>(&self, mut f: impl FnMut(&Node, Vec<T>) -> T) -> T {
        let folded: Result<T, std::convert::Infallible> =
            self.try_fold(|node, operands| Ok(f(node, operands)));
        match folded {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

impl BorshDeserialize for Expr {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let len = u32::deserialize_reader(reader)? as usize;
        // Before the nodes are read, so that a stranger's length allocates nothing.
        if len > MAX_NODES {
            return Err(invalid_data(InvalidExpr));
        }
        let nodes = (0..len)
            .map(|_| Node::deserialize_reader(reader))
            .collect::<borsh::io::Result<_>>()?;
        Self::new(nodes).map_err(invalid_data)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use dispers_base::encoding::{from_bytes, to_bytes};

    #[test]
    fn a_tree_survives_its_encoding() {
        let one = || Expr::new(vec![Node::Integer(1)]).unwrap();
        let sum = Expr::apply(Node::Arithmetic(Arithmetic::Add), vec![one(), one()]).unwrap();
        let case = Node::Case {
            whens: 1,
            otherwise: true,
        };
        let test = Expr::apply(Node::IsNull, vec![sum.clone()]).unwrap();
        let whole = Expr::apply(case, vec![test, one(), sum]).unwrap();
        let bytes = to_bytes(&whole);
        assert_eq!(from_bytes::<Expr>(&bytes, 10_000, "e").unwrap(), whole);
        assert_eq!(
            whole.fold(|_, operands: Vec<usize>| 1 + operands.iter().sum::<usize>()),
            9
        );
    }

    #[test]
    fn what_is_no_bounded_tree_is_refused() {
        let one = Node::Integer(1);
        for nodes in [
            vec![],
            vec![one.clone(), one.clone()],
            vec![Node::Not],
            vec![one.clone(), Node::And(1)],
            vec![Node::Coalesce(0)],
            vec![one.clone(), Node::In(0)],
            vec![Node::Case {
                whens: 0,
                otherwise: false,
            }],
            vec![Node::Case {
                whens: u16::MAX,
                otherwise: true,
            }],
            vec![Node::Real(f64::INFINITY)],
            vec![Node::Text("x".repeat(MAX_TEXT + 1))],
            [one.clone()]
                .into_iter()
                .chain(vec![Node::Negate; MAX_DEPTH])
                .collect(),
            vec![one.clone(); MAX_NODES + 1],
        ] {
            assert_eq!(Expr::new(nodes.clone()), Err(InvalidExpr));
            let bytes = to_bytes(&Expr { nodes });
            assert!(from_bytes::<Expr>(&bytes, 1 << 20, "e").is_err());
        }
        assert!(from_bytes::<Expr>(&[1, 255, 255, 255, 255], 100, "e").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(0u8..24, 0..80)) {
            if let Ok(expr) = borsh::from_slice::<Expr>(&bytes) {
                prop_assert_eq!(borsh::to_vec(&expr).unwrap(), bytes);
            }
        }
    }
}
