# SPDX-License-Identifier: BSD-3-Clause
"""The inputs of NWChem's own QA suite that are run here, and what each of them exercises."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Input:
    """One or more QA tests; the later ones restart from the files of the first, in its scratch directory."""

    name: str
    kinds: str
    then: tuple = ()

    def steps(self):
        return (self.name,) + self.then


INPUTS = {one.name: one for one in (
    Input("h2o", "SCF gradient"),
    Input("be", "SCF"),
    Input("h2s_finite", "SCF on integral files, in finite fields"),
    Input("tagcheck", "SCF gradients with tags"),
    Input("c2h4", "SCF, UHF, DFT"),
    Input("scf_feco5", "SCF from disk, semidirect files at 75 % and 50 %, direct"),
    Input("dft_he2+", "DFT gradients"),
    Input("dft_ozone", "DFT energies and gradients"),
    Input("dft_m05nh2ch3", "DFT, meta-GGA"),
    Input("dft_siosi3", "DFT, charge density fitting"),
    Input("h2mp2", "MP2 analytic and numerical gradient"),
    Input("auh2o", "MP2 with effective core potentials"),
    Input("rimp2_ne", "RI-MP2"),
    Input("rimp2_he", "RI-MP2"),
    Input("Ne_scf-mp2_cc-vqz", "MP2: direct, semidirect, RI"),
    Input("grad_ozone", "SCF and MP2 gradients, semidirect and direct"),
    Input("h2o_dftmp2_cgmin", "double-hybrid DFT, semidirect MP2"),
    Input("h2o_opt", "optimisation, SCF"),
    Input("dft_mpwb1khf", "optimisation, DFT"),
    Input("fh_m06", "optimisation, DFT, meta-GGA"),
    Input("h2o_cg_opt", "optimisation, DFT with conjugate gradients"),
    Input("sad_ch3hf", "saddle point, SCF"),
    Input("hess_h2o", "optimisation, frequencies"),
    Input("startag", "startup directives, two tasks on one database"),
    Input("vectors_rotate", "DFT with rotated starting vectors"),
    Input("dft_hess_start", "DFT frequencies, then a restart from its files", ("dft_hess_rest",)),
    Input("cosmo_h2o", "solvation, SCF"),
    Input("cosmo_h3co_ecp", "solvation, optimisation"),
)}

SUBSETS = {
    "ci": ("h2o", "c2h4", "h2mp2", "h2o_opt", "scf_feco5", "dft_hess_start"),
    "all": tuple(INPUTS),
}
