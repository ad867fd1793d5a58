# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One model, every estimator
#
# 294 patients, up to seven visits, and at each visit a toenail infection that is severe or not:
# data on which estimators of mixed models are known to disagree. Patients differ so much that six
# of ten respond alike at every visit, nearly all of them without a severe infection.

# %%
import matplotlib.pyplot as plt
import numpy as np

import glmmjax as gj

data = gj.datasets.load("toenail")
data["y"] = (data["outcome"] == "moderate or severe").astype(float)
formula = "y ~ treatment * time + (1 | patientID)"

# %% [markdown]
# ## Side by side
#
# The same formula, one word changed.

# %%
pql = gj.glmm(formula, data, "binomial", method="pql")
laplace = gj.glmm(formula, data, "binomial", method="laplace")
agq = gj.glmm(formula, data, "binomial", method="agq", nodes=50)
mcem = gj.glmm(formula, data, "binomial", method="mcem")
gee = gj.gee("y ~ treatment * time", data, groups="patientID", family="binomial")

gj.compare(pql, laplace, agq, mcem, gee)

# %% [markdown]
# PQL linearises, and shrinks. Laplace puts a normal density in the place of each patient's own, and
# overshoots. Quadrature and Monte Carlo EM agree: they integrate. GEE answers another question,
# that of the population, and its coefficients are to be compared with averaged ones, in the last
# column.
#
# ## Where Laplace goes wrong
#
# Draws from Laplace's normal tell what it misses, patient by patient.

# %%
table = laplace.check_integral()
table.sort_values("pareto_k", ascending=False).head()

# %%
severe = data.groupby("patientID", observed=True)["y"].mean()
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
axes[0].scatter(severe.loc[table["level"]], table["missed"], s=9, alpha=0.6)
axes[0].set(xlabel="share of severe visits", ylabel="log-likelihood missed")
axes[1].scatter(severe.loc[table["level"]], table["pareto_k"], s=9, alpha=0.6)
axes[1].axhline(0.7, color="black", linewidth=1, linestyle=":")
axes[1].set(xlabel="share of severe visits", ylabel="Pareto k")
# %% [markdown]
# ## How many nodes?
#
# The likelihood at one point, by more and more nodes, and by importance sampling with its error.

# %%
import jax

jax.config.update("jax_enable_x64", True)
model, arrays, _ = gj.build(formula, data, "binomial")
params = agq.estimate.params
nodes = [1, 3, 5, 9, 15, 25, 50]
values = [float(gj.marginal_loglik(params, arrays, model, gj.AGQ(k))) for k in nodes]
draws = np.array([
    float(gj.marginal_loglik(params, arrays, model, gj.Importance(1024), key=jax.random.key(s)))
    for s in range(8)
])  # fmt: skip

figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
axis.plot(nodes, values, marker="o", label="quadrature")
axis.axhspan(draws.min(), draws.max(), color="tab:orange", alpha=0.5, label="importance sampling")
axis.set(xscale="log", xlabel="nodes", ylabel="log-likelihood")
axis.legend()
