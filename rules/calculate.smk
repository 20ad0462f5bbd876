# One job per structure. It carries no digest of the code, and the table that it comes from
# is ancient: a calculation that is finished is not made again. One attempt more than
# dft.attempts: the last computes nothing, and writes the row of one that was always killed.
rule calculate:
    input:
        table=ancient(f"{RESULTS}/{{system}}/submitted.parquet"),
    output:
        table=f"{RESULTS}/{{system}}/dft/{{id}}/calculated.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/dft/{{id}}.log",
    # only the driver's: Snakemake inside a job would use them up in the time that is left
    retries: CAMPAIGN.config.dft.attempts if workflow.is_main_process else 0
    conda:
        "../envs/chggen.yaml"
    threads: CAMPAIGN.config.dft.cores
    resources:
        tasks=CAMPAIGN.config.dft.tasks,
        # with it the job is not put under srun, which the command brings itself
        mpi="srun" if CAMPAIGN.config.dft.tasks > 1 else "",
        mem_mb=lambda wildcards, attempt: CAMPAIGN.config.dft.memory(attempt),
        runtime=lambda wildcards, attempt: CAMPAIGN.config.dft.minutes(attempt),
        attempt=lambda wildcards, attempt: attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("calculate", wildcards.system),
    script:
        "../scripts/calculate.py"
