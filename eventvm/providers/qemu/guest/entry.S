/* Where the tiny guest is entered, as PVH has it: 32 bits, flat, paging off, EBX at the start info. */

    .section .note.pvh, "a", @note
    .long 4, 4, 18              /* sizes of name and value; XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long entry

    .section .text.entry, "ax"
    .code32
    .globl entry, interrupted
entry:
    cli
    lgdt segments_register
    ljmp $8, $flat
flat:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack_top, %esp
    push %ebx
    call run
halt:
    hlt
    jmp halt

interrupted:                    /* every interrupt only wakes the guest */
    push %eax
    mov $0x20, %al
    outb %al, $0xa0
    outb %al, $0x20
    pop %eax
    iret

    .align 8
segments:
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
segments_register:
    .word 23
    .long segments

    .bss
    .align 16
    .skip 16384
stack_top:
