//! Who may open an envelope, as types.

use dispers_base::id::Role;

/// A role as a type, the first parameter of [`Sealed`](super::Sealed).
pub trait Reader {
    /// The role.
    const ROLE: Role;
}

macro_rules! readers {
    ($($role:ident)*) => {$(
        #[doc = concat!("Marks what only [`Role::", stringify!($role), "`] can open.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $role;

        impl Reader for $role {
            const ROLE: Role = Role::$role;
        }
    )*};
}

readers! { Conductor ConceptIndexor TargetFinder Target DataAggregator Stack Querier }
