//! Roles that open envelopes, as types.

use dispers_base::id::Role;

/// Role as a type: the first parameter of [`Sealed`](super::Sealed).
pub trait Reader {
    /// Role that the type stands for.
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
