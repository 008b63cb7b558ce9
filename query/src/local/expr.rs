//! Expressions over one row, in postfix order.
//!
//! Postfix, so that neither decoding nor walking an expression of a stranger recurses. Types are
//! strict: whoever writes an expression converts where PostgreSQL would convert implicitly.

use borsh::{BorshDeserialize, BorshSerialize};

use super::typing::Kind;

/// Largest number of nodes of one expression, and of one query.
pub const MAX_NODES: usize = 4096;
/// Largest depth of an expression.
pub const MAX_DEPTH: usize = 64;
/// Largest number of operands of one node.
pub const MAX_OPERANDS: usize = 512;
/// Largest number of bytes of one text literal.
pub const MAX_TEXT: usize = 256;

/// One step of an expression. Operands stand before it.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Node {
    /// NULL of a type.
    Null(Kind),
    /// TRUE or FALSE.
    Boolean(bool),
    /// An integer literal.
    Integer(i64),
    /// A literal with a fraction or an exponent; finite.
    Real(f64),
    /// A text literal.
    Text(String),
    /// The column at that position of the row.
    Column(u16),
    /// An integer as a real number.
    ToReal,
    /// A real number rounded half to even, or a truth value as 1 or 0.
    ToInteger,
    /// Unary minus.
    Negate,
    /// Two operands of one numeric type. Between integers a division truncates; by zero it is NULL.
    Arithmetic(Arithmetic),
    /// Two operands of one type.
    Compare(Comparison),
    /// Negation of a truth value.
    Not,
    /// Conjunction of that many operands.
    And(u16),
    /// Disjunction of that many operands.
    Or(u16),
    /// Whether the operand is NULL.
    IsNull,
    /// Whether the first operand is one of that many that follow it.
    In(u16),
    /// Whether the first operand is from the second to the third.
    Between,
    /// Whether the first operand matches the pattern in the second, case-sensitively; backslash
    /// escapes.
    Like,
    /// That many pairs of condition and result, then the result otherwise, or NULL without one.
    Case {
        /// Number of pairs.
        whens: u16,
        /// Whether a result for all other cases follows.
        otherwise: bool,
    },
    /// The first of that many operands that is not NULL.
    Coalesce(u16),
    /// The first operand, or NULL where it equals the second.
    NullIf,
    /// A function of one operand.
    Function(Function),
}

/// The four operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Arithmetic {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }
}

/// The six comparisons.
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
    /// As it is written.
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

/// The functions that a query may call, beside those with a node of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Function {
    /// Absolute value of a number.
    Abs,
    /// A real number rounded half to even.
    Round,
    /// The largest whole number that is not above a real number.
    Floor,
    /// The smallest whole number that is not below a real number.
    Ceil,
    /// Number of characters of a text.
    Length,
    /// A text in lower case.
    Lower,
    /// A text in upper case.
    Upper,
}

impl Function {
    /// As it is written.
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
    /// Number of operands.
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

    /// Whether the node by itself is within the bounds.
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

/// Steps that are no expression, or one beyond the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an expression may have {MAX_NODES} parts, depth {MAX_DEPTH}, lists of {MAX_OPERANDS} and \
     texts of {MAX_TEXT} bytes"
)]
pub struct InvalidExpr;

/// An expression: one tree within the bounds, whose types are not yet checked.
#[derive(Debug, Clone, PartialEq, BorshSerialize)]
pub struct Expr {
    nodes: Vec<Node>,
}

impl Expr {
    /// # Errors
    /// [`InvalidExpr`] if `nodes` are not one tree in postfix order within the bounds.
    pub fn new(nodes: Vec<Node>) -> Result<Self, InvalidExpr> {
        if nodes.len() > MAX_NODES {
            return Err(InvalidExpr);
        }
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

    /// `node` over `operands`.
    ///
    /// # Errors
    /// [`InvalidExpr`] beyond the bounds.
    pub fn apply(node: Node, operands: Vec<Self>) -> Result<Self, InvalidExpr> {
        let mut nodes: Vec<Node> = operands.into_iter().flat_map(|e| e.nodes).collect();
        nodes.push(node);
        Self::new(nodes)
    }

    /// The steps, operands first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Computes bottom-up what `f` makes of each node and of what it made of its operands.
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

    /// [`try_fold`](Self::try_fold) where nothing can fail.
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
        let invalid =
            || borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, InvalidExpr.to_string());
        let len = u32::deserialize_reader(reader)? as usize;
        if len > MAX_NODES {
            return Err(invalid());
        }
        let nodes = (0..len)
            .map(|_| Node::deserialize_reader(reader))
            .collect::<borsh::io::Result<_>>()?;
        Self::new(nodes).map_err(|_| invalid())
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
