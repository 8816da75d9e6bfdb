"""How `odeint` works: one step of a solver, a walk of many, its derivatives, a field's rounding."""
